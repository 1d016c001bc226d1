"""How many seeds a comparison would take."""

from __future__ import annotations

from reports.stats.comparisons import ALPHA, POWER, detectable

MOST_SEEDS = 1000
"""No larger number of seeds is named: it says no more than that seeds will not settle the question."""

_STEPS = ((15, 1), (50, 5), (200, 10), (MOST_SEEDS, 50))


def seeds_to_detect(
    difference: float, *, error: float, freedom: float, seeds: int, alpha: float = ALPHA, power: float = POWER
) -> int | None:
    """The least number of seeds at which a two-sided t test finds a true difference with probability `power`.

    The variance of a mean falls with the number of seeds, and the degrees of freedom grow with it. The spread itself is
    taken for what the present seeds say, of which two or three say little: the answer is an order of magnitude.

    Args:
        difference: that is to be found, above 0.
        error: standard error of the mean difference at present.
        freedom: its degrees of freedom.
        seeds: how many there are at present, at least 2.
        alpha: level of the test, corrected for all that are made together. A one-sided test of level a has alpha 2 a.
        power: the probability.

    Returns:
        Between 2 and `MOST_SEEDS`; None where that many are too few.

    A difference of two standard deviations of a single seed takes 5 seeds (t test, alpha .05, power .8), as
    `statsmodels.stats.power.TTestPower` has it; at present there are 4, so the standard error is half a deviation:

    >>> seeds_to_detect(2.0, error=0.5, freedom=3, seeds=4)
    5
    """

    def enough(count: int) -> bool:
        freed = freedom * (count - 1) / (seeds - 1)
        return detectable(error * (seeds / count) ** 0.5, freed, alpha=alpha, power=power) <= difference

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS  # enough(low) is not so, enough(high) is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def rounded_up(seeds: int) -> int:
    """A number of seeds as exact as it may be said: 7 and 13 as they are, then to 5, 10, 50.

    >>> [rounded_up(seeds) for seeds in (7, 13, 23, 61, 130, 312)]
    [7, 13, 25, 70, 130, 350]
    """
    return next(-(-seeds // step) * step for limit, step in _STEPS if seeds <= limit)
