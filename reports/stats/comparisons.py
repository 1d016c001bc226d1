"""One method against another over the same seeds and tasks: difference, test, correction, power.

`compare_pairs` compares all methods of one panel on one task, or on all tasks together. Tables, summary and answers
read its result, so that each difference has one interval and one verdict. `compare` compares each method with one
baseline by a permutation test, which assumes nothing about the distribution of scores; the ablations of gates use it.

As in `reports.stats.intervals`, scores are (seeds, tasks) with NaN for an absent run. With fewer than two seeds on any
task there is no interval and no test: both are None.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from reports.stats.improvement import improvement_interval, probability_of_improvement
from reports.stats.intervals import (
    LEVEL,
    Interval,
    Scores,
    as_scores,
    mean,
    mean_interval,
    seeds_per_task,
    standard_error,
)
from reports.stats.moderation import half_width, pair_spread

ALPHA = 1 - LEVEL
POWER = 0.8
FLIPS = 20_000  # random sign patterns where there are too many to count them all
EXACT_PAIRS = 36  # up to here all 2 ** pairs sign patterns are counted: two sorted halves, 2 ** 18 each


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A method against a baseline. Differences are in the unit of the score.

    Attributes:
        pairs: number of seeds and tasks on which both methods have a run.
        difference: the mean of the method minus that of the baseline, over those pairs; None if a task has no pair.
        interval: for the difference. `compare_pairs` gives intervals that hold for all pairs of methods together,
            `compare` one that holds for this difference alone.
        p_value: for the hypothesis of no difference, not corrected; None with fewer than two seeds on any task.
        p_adjusted: corrected for the number of comparisons made together.
        differs: whether `p_adjusted` is at most alpha; None where there is no test.
        always_below: whether the method scored lower in every pair.
        always_above: whether it scored higher in every pair.
        improvement: probability that a run of the method beats one of the baseline on the same task;
            `compare_pairs` leaves it None.
        improvement_interval: for `improvement`.
        detectable: the true difference that a test on these seeds finds with the stated power.
    """

    method: str
    baseline: str
    pairs: int
    difference: float | None
    interval: Interval | None
    p_value: float | None
    p_adjusted: float | None
    differs: bool | None
    detectable: float | None
    always_below: bool = False
    always_above: bool = False
    improvement: float | None = None
    improvement_interval: Interval | None = None

    def reversed(self) -> Comparison:
        """The same comparison with method and baseline exchanged, without the probability of improvement."""
        return replace(
            self,
            method=self.baseline,
            baseline=self.method,
            difference=None if self.difference is None else -self.difference,
            interval=None if self.interval is None else Interval(-self.interval.high, -self.interval.low),
            always_below=self.always_above,
            always_above=self.always_below,
            improvement=None,
            improvement_interval=None,
        )


def compare(
    scores: Mapping[str, ArrayLike],
    baseline: str,
    *,
    generator: np.random.Generator,
    level: float = LEVEL,
    power: float = POWER,
) -> tuple[Comparison, ...]:
    """Compares every other method with the baseline by `sign_flip_test`, corrected by Holm for their number.

    Args:
        scores: method -> scores, all of one shape (seeds, tasks), with the same seeds and tasks in the same order.
        baseline: the name of one of them.
        generator: draws sign patterns where there are too many to count all of them.
        level: of the intervals; the tests use alpha = 1 - level.
        power: of the detectable difference.

    Raises:
        ValueError: the baseline is not among the methods, or the shapes differ.

    >>> scores = {"full": [[1.0], [1.0], [1.0]], "lora": [[2.0], [3.0], [4.0]]}
    >>> (lora,) = compare(scores, "full", generator=np.random.default_rng(0))
    >>> lora.difference, lora.p_value, lora.differs  # differences 1, 2, 3: two of 8 sign patterns are as extreme
    (2.0, 0.25, False)
    """
    if baseline not in scores:
        raise ValueError(f"baseline {baseline!r} has no scores; there are {', '.join(scores)}")
    reference = as_scores(scores[baseline])
    drafts = []
    for method in (name for name in scores if name != baseline):
        gaps = paired_differences(scores[method], reference)
        drafts.append(
            Comparison(
                method=method,
                baseline=baseline,
                pairs=int(seeds_per_task(gaps).sum()),
                difference=mean(gaps),
                interval=mean_interval(gaps, level=level),
                p_value=sign_flip_test(gaps, generator=generator),
                p_adjusted=None,
                differs=None,
                improvement=probability_of_improvement(scores[method], reference),
                improvement_interval=improvement_interval(scores[method], reference, level=level),
                detectable=detectable_difference(gaps, alpha=1 - level, power=power),
            )
        )
    adjusted = holm([draft.p_value for draft in drafts])
    return tuple(
        replace(draft, p_adjusted=p, differs=None if p is None else p <= 1 - level + 1e-12)
        for draft, p in zip(drafts, adjusted, strict=True)
    )


Pairs = Mapping[tuple[str, str], Comparison]
"""(method, baseline) -> their comparison; each pair of methods stands in both orders."""


def compare_pairs(
    scores: Mapping[str, ArrayLike],
    *,
    resolution: ArrayLike = 0.0,
    still: Collection[str] = (),
    span: float = np.inf,
    level: float = LEVEL,
) -> Pairs:
    """Compares every two methods of one panel, paired by seed and task.

    The test is a t test of the mean difference, with a variance that is moderated over the pairs of methods
    (`reports.stats.moderation`). With two methods there is nothing to moderate: it is Student's paired t test.
    Interval and p value are corrected by Bonferroni for the number of pairs that can be tested: the interval excludes
    0 if and only if the corrected p value is below alpha, and all intervals hold together with probability `level`.
    `python -m benchmarks.coverage` prints how often they do.

    Args:
        scores: method -> scores, all of one shape (seeds, tasks), with the same seeds and tasks in the same order.
        resolution: the step between possible scores of each task, (tasks,), such as 1 over the number of test rows;
            0 where it is not known.
        still: methods that train nothing.
        span: the largest possible difference between two scores; intervals are cut to -span and span.
        level: the probability that all intervals hold together.

    The paired differences are 1, 2 and 3: mean 2, t = 2 / sqrt(1 / 3) = 3.46 with 2 degrees of freedom:

    >>> pairs = compare_pairs({"lora": [[2], [4], [6]], "full": [[1], [2], [3]]})
    >>> pair = pairs["lora", "full"]
    >>> pair.difference, round(pair.p_value, 3), pair.differs
    (2.0, 0.074, False)
    >>> [round(end, 3) for end in pair.interval]
    [-0.484, 4.484]
    """
    names = list(scores)
    if len(names) < 2:
        return {}
    cube = np.stack([as_scores(scores[name]) for name in names])
    first, second = np.triu_indices(len(names), 1)
    quiet = np.array([name in still for name in names])
    spread = pair_spread(cube, first, second, resolution, quiet)
    tested = spread.variances > 0
    # Bonferroni: each of the pairs that can be tested gets its share of alpha.
    count = max(1, int(tested.sum()))
    halves = half_width(spread, 1 - (1 - level) / count).tolist()
    errors, freedoms = np.sqrt(spread.variances).tolist(), spread.freedom.tolist()
    comparisons: dict[tuple[str, str], Comparison] = {}
    for at, (one, other) in enumerate(zip(first, second, strict=True)):
        gaps = cube[one] - cube[other]
        present = gaps[~np.isnan(gaps)]
        centre = mean(gaps)
        comparison = Comparison(
            method=names[one],
            baseline=names[other],
            pairs=len(present),
            difference=centre,
            interval=None,
            p_value=None,
            p_adjusted=None,
            differs=None,
            detectable=None,
            always_below=bool(len(present)) and bool((present < 0).all()),
            always_above=bool(len(present)) and bool((present > 0).all()),
        )
        if tested[at] and centre is not None:
            p = 2 * float(special.stdtr(freedoms[at], -abs(centre) / errors[at]))
            comparison = replace(
                comparison,
                interval=Interval(centre - halves[at], centre + halves[at]).within(-span, span),
                p_value=p,
                p_adjusted=min(1.0, p * count),
                differs=abs(centre) > halves[at],
                detectable=detectable(errors[at], freedoms[at], alpha=(1 - level) / count),
            )
        comparisons[names[one], names[other]] = comparison
        comparisons[names[other], names[one]] = comparison.reversed()
    return comparisons


def with_improvement(comparison: Comparison, scores: Mapping[str, ArrayLike]) -> Comparison:
    """Returns the comparison with its probability of improvement filled in.

    Args:
        comparison: of two methods.
        scores: method -> scores, as `compare_pairs` took them.
    """
    ours, theirs = scores[comparison.method], scores[comparison.baseline]
    return replace(
        comparison,
        improvement=probability_of_improvement(ours, theirs),
        improvement_interval=improvement_interval(ours, theirs),
    )


def paired_differences(scores: ArrayLike, baseline: ArrayLike) -> Scores:
    """Scores minus those of the baseline on the same seed and task, (seeds, tasks); NaN where either run is absent.

    Raises:
        ValueError: the shapes differ.

    >>> paired_differences([[3, 5], [4, None]], [[1, 1], [None, 1]])
    array([[ 2.,  4.],
           [nan, nan]])
    """
    ours, theirs = as_scores(scores), as_scores(baseline)
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes {ours.shape} and the baseline's {theirs.shape} differ: (seeds, tasks)")
    gaps: Scores = ours - theirs
    return gaps


def sign_flip_test(differences: ArrayLike, *, generator: np.random.Generator, flips: int = FLIPS) -> float | None:
    """Two-sided permutation test of the mean difference (Fisher, The Design of Experiments, 1935).

    If the methods do not differ, each pair may swap its two scores, which flips the sign of its difference. The p value
    is the share of sign patterns whose `mean` is at least as far from 0 as the observed one.

    Up to 36 pairs all 2 ** pairs patterns are counted, as `scipy.stats.permutation_test` does with
    `permutation_type="samples"`. With more pairs random patterns are drawn, and the observed one is counted among them
    (Phipson & Smyth, 2010). Where pairs are independent and the methods exchangeable, false alarms are at most alpha
    whatever the spreads: measured 5.0% at 5 seeds by 4 tasks.

    Args:
        differences: (seeds, tasks), NaN where a run is absent.
        generator: draws the random patterns.
        flips: how many random patterns.

    Returns:
        The p value; None with fewer than two seeds on any task.

    Of the 8 sign patterns of 1, 2 and 3 only the observed one and its opposite reach a mean of 2:

    >>> sign_flip_test([[1], [2], [3]], generator=np.random.default_rng(0))
    0.25
    """
    array = as_scores(differences)
    counts = seeds_per_task(array)
    if counts.min() < 2:
        return None
    weighted = array / counts
    terms = weighted[~np.isnan(weighted)]
    # Sums that are equal in theory may differ by rounding; the tolerance counts them as equal.
    observed = abs(terms.sum()) - 1e-12 * np.abs(terms).sum()
    if observed <= 0:
        return 1.0
    if len(terms) <= EXACT_PAIRS:
        # Every pattern is a pattern of the left half with one of the right half. For each sum of the left half a search
        # in the sorted sums of the right half counts the partners that reach the observed sum.
        left, right = (_signed_sums(half) for half in np.array_split(terms, 2))
        right = np.sort(right)
        at_least = len(right) - np.searchsorted(right, observed - left, side="left")
        return float(2 * at_least.sum() / 2 ** len(terms))
    # The sum under random signs is twice the sum of the terms that kept a plus, less the sum of all.
    positive = generator.integers(0, 2, size=(flips, len(terms)), dtype=np.int8) @ terms
    sums = 2 * positive - terms.sum()
    return float((1 + (np.abs(sums) >= observed).sum()) / (1 + flips))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of p values for their number (Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest of m p values is multiplied by m - i + 1, cut to 1, and raised to the one before it if that is
    larger. None (not tested) stays None and does not count in m. `multipletests` of statsmodels gives the same
    numbers, but collects garbage at each call, which costs 0.1 s.

    >>> holm([0.01, 0.04, None, 0.03])  # 3 * 0.01, then 2 * 0.03, then 1 * 0.04 raised to 0.06
    [0.03, 0.06, None, 0.06]
    """
    tested = np.array([p for p in p_values if p is not None])
    order = np.argsort(tested)
    corrected = np.empty(len(tested))
    corrected[order] = np.minimum(1, np.maximum.accumulate(tested[order] * np.arange(len(tested), 0, -1)))
    remaining = iter(corrected)
    return [None if p is None else float(next(remaining)) for p in p_values]


def detectable_difference(differences: ArrayLike, *, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """The smallest true mean difference that a t test finds with probability `power`, given these differences' spread.

    For one task it is `statsmodels.stats.power.TTestPower.solve_power` times the standard deviation.

    Args:
        differences: (seeds, tasks), NaN where a run is absent.
        alpha: the level of the test.
        power: the probability.

    Returns:
        The difference, in the unit of the scores; None with fewer than two seeds on any task, or without any spread.
    """
    error = standard_error(differences)
    if error is None or error[0] == 0:
        return None
    return detectable(*error, alpha=alpha, power=power)


def detectable(scale: float, freedom: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The true difference that a two-sided t test finds with probability `power`.

    Args:
        scale: standard error of the mean difference.
        freedom: its degrees of freedom.
        alpha: the level of the test.
        power: the probability.

    With very many degrees of freedom it is the sum of the normal quantiles 1.960 and 0.842, in standard errors:

    >>> round(detectable(1.0, 1e6), 3)
    2.802
    """
    critical = float(special.stdtrit(freedom, 1 - alpha / 2))
    # The noncentrality at which the statistic exceeds the critical value with probability `power`.
    shift = special.nctdtrinc(freedom, 1 - power, critical)
    return float(shift * scale)


def _signed_sums(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums of the terms under all patterns of signs, (2 ** terms,)."""
    sums = np.zeros(1)
    for term in terms:
        sums = np.concatenate([sums - term, sums + term])
    return sums
