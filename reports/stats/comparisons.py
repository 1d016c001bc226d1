"""One method against another over matching seeds and tasks: difference, test, correction, power.

`compare_pairs` makes every comparison of one place (one task, or all together) once; tables, summary and answers
read them there, so that a difference has one interval and one verdict. `compare` tests against one baseline by
permutation, where nothing is known of the scores; the gates' ablations use it.

As in `reports.stats.intervals`: scores are (seeds, tasks) with NaN for an absent run, and with fewer than two
seeds of any task there is no interval and no test, only None.
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
    """A method against a baseline; the unit of a difference is the score's own.

    Attributes:
        pairs: runs of both methods with the same seed and task.
        difference: the method's mean less the baseline's over those pairs; None if a task has none.
        interval: of the difference; from `compare_pairs` it holds for all its pairs together, from `compare` for
            this one alone.
        p_value: of no difference, not corrected; None with fewer than two seeds on any task.
        p_adjusted: corrected for the number of comparisons made together.
        differs: whether `p_adjusted` is at most alpha; None where there is no test.
        always_below: whether the method scored lower in every run that both have.
        always_above: whether it scored higher in every one.
        improvement: probability that a run of the method beats one of the baseline on the same task; not
            computed by `compare_pairs`.
        detectable: the true difference that these seeds would find with the stated power.
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
        """The baseline against the method; without what is not symmetric and was not computed."""
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
    """Compares every other method with the baseline, corrected by Holm for their number.

    Args:
        scores: by method, all of one shape (seeds, tasks), rows and columns meaning the same run.
        baseline: the name of one of them.
        generator: draws the sign patterns where there are too many to count.
        level: of the intervals; the tests' alpha is 1 less it.
        power: of the detectable difference.

    Raises:
        ValueError: if the baseline is not among the methods or the shapes differ.
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
"""Comparisons by (method, baseline), each pair in both orders."""


def compare_pairs(
    scores: Mapping[str, ArrayLike],
    *,
    resolution: ArrayLike = 0.0,
    still: Collection[str] = (),
    span: float = np.inf,
    level: float = LEVEL,
) -> Pairs:
    """Compares all methods of one place with one another, paired by seed and task, all at once.

    The test is a t test of the mean difference whose variance is moderated over the pairs (`reports.stats.moderation`).
    Interval and p value are corrected by Bonferroni for the number of pairs that can be tested: the interval excludes
    0 if and only if the corrected p value is below alpha, and all intervals hold together with probability `level`.
    `python -m benchmarks.coverage` prints how often they do.

    Args:
        scores: by method, all of one shape (seeds, tasks), rows and columns meaning the same run.
        resolution: the step of each task's scores, one over its test rows; 0 where it is not known.
        still: methods that train nothing.
        span: the greatest difference that two scores can have: no interval reaches beyond it.
        level: of all intervals together.
    """
    names = list(scores)
    if len(names) < 2:
        return {}
    cube = np.stack([as_scores(scores[name]) for name in names])
    first, second = np.triu_indices(len(names), 1)
    quiet = np.array([name in still for name in names])
    spread = pair_spread(cube, first, second, resolution, quiet)
    tested = spread.variances > 0
    count = max(1, int(tested.sum()))
    halves = half_width(spread, 1 - (1 - level) / count).tolist()
    errors, freedoms = np.sqrt(spread.variances).tolist(), spread.freedom.tolist()
    found: dict[tuple[str, str], Comparison] = {}
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
        found[names[one], names[other]] = comparison
        found[names[other], names[one]] = comparison.reversed()
    return found


def with_improvement(comparison: Comparison, scores: Mapping[str, ArrayLike]) -> Comparison:
    """The comparison with its probability of improvement added."""
    ours, theirs = scores[comparison.method], scores[comparison.baseline]
    return replace(
        comparison,
        improvement=probability_of_improvement(ours, theirs),
        improvement_interval=improvement_interval(ours, theirs),
    )


def paired_differences(scores: ArrayLike, baseline: ArrayLike) -> Scores:
    """Score less the baseline's of the same seed and task: (seeds, tasks), NaN where either lacks.

    Raises:
        ValueError: if the shapes differ.
    """
    ours, theirs = as_scores(scores), as_scores(baseline)
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes {ours.shape} and the baseline's {theirs.shape} differ: (seeds, tasks)")
    gaps: Scores = ours - theirs
    return gaps


def sign_flip_test(differences: ArrayLike, *, generator: np.random.Generator, flips: int = FLIPS) -> float | None:
    """Two-sided permutation test of the mean difference: under the null each pair may swap sides.

    The statistic is `mean` of the differences. All 2 ** pairs patterns are counted up to 36 pairs (the
    p value of `scipy.stats.permutation_test` with `permutation_type="samples"`); beyond, random ones,
    the observed among them (Phipson & Smyth, 2010). False alarms are at most alpha where pairs
    are independent and the two methods exchangeable, whatever the spreads: measured 5.0% at 5 by 4.

    Returns:
        The p value; None with fewer than two seeds on any task.
    """
    array = as_scores(differences)
    counts = seeds_per_task(array)
    if counts.min() < 2:
        return None
    weighted = array / counts
    terms = weighted[~np.isnan(weighted)]
    # Sums are equal up to rounding where they are equal: a sign pattern must not miss the observed one.
    observed = abs(terms.sum()) - 1e-12 * np.abs(terms).sum()
    if observed <= 0:
        return 1.0
    if len(terms) <= EXACT_PAIRS:
        left, right = (_signed_sums(half) for half in np.array_split(terms, 2))
        right = np.sort(right)
        at_least = len(right) - np.searchsorted(right, observed - left, side="left")
        return float(2 * at_least.sum() / 2 ** len(terms))
    positive = generator.integers(0, 2, size=(flips, len(terms)), dtype=np.int8) @ terms
    sums = 2 * positive - terms.sum()  # of the terms with random signs
    return float((1 + (np.abs(sums) >= observed).sum()) / (1 + flips))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction (1979): the i-th least of m p values times m - i + 1, never less than the one before.

    What was not tested stays None and counts for nothing. statsmodels' `multipletests` gives the same, but
    collects garbage at each call, which costs 0.1 s.
    """
    tested = np.array([p for p in p_values if p is not None])
    order = np.argsort(tested)
    corrected = np.empty(len(tested))
    corrected[order] = np.minimum(1, np.maximum.accumulate(tested[order] * np.arange(len(tested), 0, -1)))
    remaining = iter(corrected)
    return [None if p is None else float(next(remaining)) for p in p_values]


def detectable_difference(differences: ArrayLike, *, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """The least true mean difference that a t test on so many seeds, so spread, finds with `power`.

    For one task it is `statsmodels.stats.power.TTestPower.solve_power` times the standard deviation.

    Returns:
        In the unit of the scores; None with fewer than two seeds on any task, or no spread at all.
    """
    error = standard_error(differences)
    if error is None or error[0] == 0:
        return None
    return detectable(*error, alpha=alpha, power=power)


def detectable(scale: float, freedom: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The true difference that a t test with this standard error and these degrees of freedom finds with `power`."""
    critical = float(special.stdtrit(freedom, 1 - alpha / 2))
    # The noncentrality at which the statistic exceeds the critical value with probability `power`.
    shift = special.nctdtrinc(freedom, 1 - power, critical)
    return float(shift * scale)


def _signed_sums(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """All sums of the terms with either sign: (2 ** terms,)."""
    sums = np.zeros(1)
    for term in terms:
        sums = np.concatenate([sums - term, sums + term])
    return sums
