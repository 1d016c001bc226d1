"""One method against another over matching seeds and tasks: difference, test, correction, power.

As in `reports.stats`: scores are (seeds, tasks) with NaN for an absent run, and with fewer than two
seeds of any task there is no interval and no test, only None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from reports.improvement import improvement_interval, probability_of_improvement
from reports.stats import (
    LEVEL,
    Interval,
    Scores,
    as_scores,
    mean,
    mean_interval,
    seeds_per_task,
    standard_error,
)

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
        interval: of the difference, per comparison (not corrected for their number).
        p_value: of no difference on any task; None with fewer than two seeds on any task.
        p_adjusted: Holm's correction over the comparisons made together.
        differs: whether `p_adjusted` is at most alpha; None where there is no test.
        smallest_p: the least p value that so many pairs can give: above alpha, no test can succeed.
        improvement: probability that a run of the method beats one of the baseline on the same task.
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
    smallest_p: float | None
    improvement: float | None
    improvement_interval: Interval | None
    detectable: float | None


def compare(
    scores: Mapping[str, ArrayLike],
    baseline: str,
    *,
    generator: np.random.Generator,
    test: Literal["sign-flip", "wilcoxon"] = "sign-flip",
    level: float = LEVEL,
    power: float = POWER,
) -> tuple[Comparison, ...]:
    """Compares every other method with the baseline, corrected by Holm for their number.

    Args:
        scores: by method, all of one shape (seeds, tasks), rows and columns meaning the same run.
        baseline: the name of one of them.
        generator: draws the sign patterns where there are too many to count.
        test: which test gives the p value.
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
        tested = sign_flip_test(gaps, generator=generator) if test == "sign-flip" else wilcoxon_test(gaps)
        drafts.append(
            Comparison(
                method=method,
                baseline=baseline,
                pairs=int(seeds_per_task(gaps).sum()),
                difference=mean(gaps),
                interval=mean_interval(gaps, level=level),
                p_value=tested,
                p_adjusted=None,
                differs=None,
                smallest_p=smallest_p_value(gaps),
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


def wilcoxon_test(differences: ArrayLike) -> float | None:
    """Wilcoxon's signed-rank test over all pairs, by scipy; None with under two seeds on any task.

    Ranks pool the tasks, so tasks with a wide spread count most.
    """
    from scipy import stats  # half a second that no report needs

    array = as_scores(differences)
    if seeds_per_task(array).min() < 2:
        return None
    pairs = array[~np.isnan(array)]
    return float(stats.wilcoxon(pairs).pvalue) if pairs.any() else 1.0


def smallest_p_value(differences: ArrayLike) -> float | None:
    """The least p value of the sign-flip and Wilcoxon tests with so many pairs: 2 / 2 ** pairs."""
    counts = seeds_per_task(differences)
    return float(2.0 ** (1 - counts.sum())) if counts.min() >= 2 else None


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
    scale, freedom = error
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
