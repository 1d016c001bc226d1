"""Tests whether removing parts lowers accuracy by less than epsilon, on rows that did not choose these parts.

Answers before and after a removal are on the same rows, so the test is paired, and it is exact. It tests accuracy only.
For other scores we know no bound that holds where few rows change and these rows decide the score, such as those of a
rare class (`python -m benchmarks.verified` shows how a jackknife fails there).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ALPHA = 0.05
"""The level of the test: a removal that costs epsilon or more passes with at most this probability."""
STEPS = 8
"""How many sizes of removal are tested at most; each costs one evaluation of the verification rows."""


@dataclass(frozen=True)
class Passed:
    """The largest removal that the test shows to cost less than epsilon.

    Attributes:
        removed: number of parts, counted from the start of the order of removal; 0 if no removal passed.
        bound: one-sided 95% lower bound of the true change in accuracy, at most 0; 0 for no removal.
    """

    removed: int
    bound: float


def rows_needed(epsilon: float) -> int | None:
    """The smallest number of rows on which a fall by epsilon changes at least one answer in 95% of draws.

    If no answer changes among n rows, the 95% upper bound of the share that changes is 1 - 0.05^(1/n), about 3 / n.
    None where no number of rows suffices (epsilon 0).

    >>> rows_needed(0.01)
    299
    """
    if epsilon <= 0:
        return None
    return 1 if epsilon >= 1 else math.ceil(math.log(ALPHA) / math.log1p(-epsilon))


def sizes(length: int, steps: int = STEPS) -> list[int]:
    """The sizes of removal to test for `length` parts: from one to all, with equal ratios between them.

    >>> sizes(24)
    [1, 2, 3, 4, 7, 10, 16, 24]
    """
    return sorted({math.ceil(round(size, 9)) for size in np.geomspace(1, length, steps)}) if length else []


def fixed_sequence(order: Sequence[int], passes: Callable[[int], bool]) -> int:
    """Tests hypotheses in a fixed order until one fails; gives the last that passed, 0 if the first fails.

    Each is tested at the full level. The probability of any false pass is at most that level, since the first false
    hypothesis of the order has to pass before any other (Maurer, Hothorn and Lehmacher 1995; Westfall, Krishen 2001).

    >>> fixed_sequence([1, 2, 4, 8], lambda size: size != 4)
    2
    """
    last = 0
    for one in order:
        if not passes(one):
            break
        last = one
    return last


@lru_cache(maxsize=100_000)
def exact_p(worse: int, better: int, rows: int, epsilon: float) -> float:
    """The exact p value of the hypothesis that accuracy fell by epsilon or more.

    The statistic is the score statistic of two dependent proportions (Tango 1998). The p value is the largest one over
    all shares of changed answers, which the hypothesis leaves open (unconditional exact test, Sidik 2003).

    Args:
        worse: rows that were right before the removal and are wrong after it.
        better: rows that were wrong and are right.
        rows: number of all rows.
        epsilon: above 0, below 1.
    """
    from scipy.stats import binom

    observed = float(_tango(np.array(worse), np.array(better), rows, epsilon)) - 1e-9
    changed = np.arange(rows + 1)
    # For each number of changed rows: the largest number of worse ones among them at which the statistic is still at
    # least the observed one (-1 if it never is). The statistic falls as they grow, so bisection finds the number.
    low, high = np.full(rows + 1, -1), changed.copy()
    while (low < high).any():
        middle = (low + high + 1) // 2
        holds = _tango(middle, changed - middle, rows, epsilon) >= observed
        low, high = np.where(holds, middle, low), np.where(holds, high, middle - 1)
    better_shares = np.concatenate(([0.0], np.geomspace(1e-4, (1 - epsilon) / 2, 40)))[:, None]
    shares = 2 * better_shares + epsilon
    chances = binom.pmf(changed, rows, shares) * binom.cdf(low, changed, (better_shares + epsilon) / shares)
    return float(min(1.0, chances.sum(axis=1).max()))


def changed_share(rows: int, epsilon: float) -> float:
    """The largest share of changed answers, half better and half worse, at which the test still passes.

    With more changes their random balance alone could hide a fall by epsilon. For many rows the share is near
    `rows (epsilon / 1.645)^2`, where Tango's statistic reaches the one-sided 5% point of the normal distribution.
    """
    low, high = -1, rows // 2 + 1  # numbers of worse rows: low passes (or is -1), high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exact_p(middle, middle, rows, epsilon) <= ALPHA else (low, middle)
    return 2 * max(low, 0) / rows


def _tango(worse: np.ndarray, better: np.ndarray, rows: int, epsilon: float) -> np.ndarray:
    """Tango's score statistic for the hypothesis that accuracy fell by epsilon; large values speak against it."""
    linear = 2 * epsilon * (rows - worse) - (worse + better) * (1 - epsilon)
    constant = -better * epsilon * (1 - epsilon)
    share = (np.sqrt(linear**2 - 8 * rows * constant) - linear) / (4 * rows)  # of better rows, under the hypothesis
    statistic: np.ndarray = (better - worse + rows * epsilon) / np.sqrt(rows * (2 * share + epsilon - epsilon**2))
    return statistic


def exact_bound(worse: int, better: int, rows: int) -> float:
    """The one-sided 95% lower bound of the change in accuracy, at most 0, with an error of at most 0.0005."""
    low, high = 0.0, 1.0  # the smallest epsilon that the test rejects lies between
    while high - low > 5e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if exact_p(worse, better, rows, middle) <= ALPHA else (middle, high)
    return -high


@dataclass(frozen=True)
class Paired:
    """The answers of the whole model on the verification rows, with which those after a removal are compared.

    Attributes:
        before: (rows,) of bool, True where the whole model is right.
    """

    before: np.ndarray

    def passes(self, after: np.ndarray, epsilon: float) -> bool:
        """Whether the test shows that accuracy fell by less than epsilon.

        Args:
            after: (rows,) of bool, True where the model is right after the removal.
            epsilon: the limit, a share of 1.
        """
        return epsilon >= 1 or exact_p(*self._changed(after), len(self.before), epsilon) <= ALPHA

    def bound(self, after: np.ndarray) -> float:
        """The one-sided 95% lower bound of the change in accuracy, at most 0."""
        return exact_bound(*self._changed(after), len(self.before))

    def _changed(self, after: np.ndarray) -> tuple[int, int]:
        """The number of answers that became wrong, and of those that became right."""
        return int((self.before & ~after).sum()), int((after & ~self.before).sum())


def verify_removal(paired: Paired, length: int, without: Callable[[int], np.ndarray], epsilon: float) -> Passed:
    """Tests removals of growing size in a fixed sequence.

    Args:
        paired: the whole model's answers on the verification rows.
        length: number of parts in the order of removal.
        without: number of parts to remove from the start of the order -> (rows,) of bool, True where the model is
            then right on the same rows.
        epsilon: how far the true score may fall.
    """
    accepted: list[np.ndarray] = []  # answers under the removal that passed last

    def passes(size: int) -> bool:
        after = without(size)
        if not paired.passes(after, epsilon):
            return False
        accepted[:] = [after]
        return True

    removed = fixed_sequence(sizes(length), passes)
    return Passed(removed, paired.bound(accepted[0]) if removed else 0.0)
