"""Whether accuracy fell by less than epsilon, tested on rows that had no part in choosing what was removed.

Predictions before and after a removal come from the same rows, so every test here is paired.
Accuracy alone is tested, exactly. Of other scores no bound is known here that holds where few rows change and these
decide the score, such as those of a rare class (`python -m benchmarks.verified` prints how a jackknife fails there).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ALPHA = 0.05
"""The most that the chance of a false `verified` may be."""
STEPS = 8
"""Sizes of removal that are tested at most: each costs one evaluation of the verification rows."""


@dataclass(frozen=True)
class Passed:
    """The largest removal that was shown to cost less than epsilon.

    Attributes:
        removed: how many parts, from the start of the order of removal; 0 if none was shown.
        bound: one-sided 95% lower bound of the true score change, at most 0; 0 for no removal.
    """

    removed: int
    bound: float


def rows_needed(epsilon: float) -> int | None:
    """The fewest rows on which a fall by epsilon would show as a changed answer in 95% of draws.

    With no changed answer among n rows the upper bound of the share that changes is 1 - 0.05^(1/n), about 3/n.
    None where no number of rows suffices (epsilon 0).
    """
    if epsilon <= 0:
        return None
    return 1 if epsilon >= 1 else math.ceil(math.log(ALPHA) / math.log1p(-epsilon))


def sizes(length: int, steps: int = STEPS) -> list[int]:
    """The sizes of removal that are tested along an order of `length` parts: from one to all, in equal ratios."""
    return sorted({math.ceil(round(size, 9)) for size in np.geomspace(1, length, steps)}) if length else []


def fixed_sequence(order: Sequence[int], passes: Callable[[int], bool]) -> int:
    """The last hypothesis of a fixed order that passes before the first that fails; 0 if the first fails.

    Each is tested at the full level: the chance of any false pass is at most that level, since the first
    false hypothesis in the order has to pass first (Maurer, Hothorn and Lehmacher 1995; Westfall and Krishen 2001).
    """
    last = 0
    for one in order:
        if not passes(one):
            break
        last = one
    return last


@lru_cache(maxsize=100_000)
def exact_p(worse: int, better: int, rows: int, epsilon: float) -> float:
    """The p-value of "accuracy fell by epsilon or more", exact for any share of changed answers.

    The statistic is the score statistic of two dependent proportions (Tango 1998); its p-value is the largest
    over the share of changed answers, which the hypothesis leaves open (an unconditional exact test, Sidik 2003).

    Args:
        worse: rows that were right before the removal and are wrong after it.
        better: rows that were wrong and are right.
        rows: all rows.
        epsilon: above 0, below 1.
    """
    from scipy.stats import binom

    observed = float(_tango(np.array(worse), np.array(better), rows, epsilon)) - 1e-9
    changed = np.arange(rows + 1)
    # The most worsened rows among so many changed ones for which the statistic is at least the observed one;
    # it falls as they grow, so a bisection finds it. -1: not even none.
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
    """The largest share of changed answers, as many for the better as for the worse, that still shows epsilon.

    Beyond it the spread of the changes themselves hides a fall by epsilon. Of many rows it is near
    `rows (epsilon / 1.645)^2`, where Tango's statistic equals the normal's one-sided 5% point.
    """
    low, high = -1, rows // 2 + 1  # worsened rows: low is shown (-1: not even none), high is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exact_p(middle, middle, rows, epsilon) <= ALPHA else (low, middle)
    return 2 * max(low, 0) / rows


def _tango(worse: np.ndarray, better: np.ndarray, rows: int, epsilon: float) -> np.ndarray:
    """Tango's score statistic of the hypothesis that accuracy fell by epsilon; large speaks against it."""
    linear = 2 * epsilon * (rows - worse) - (worse + better) * (1 - epsilon)
    constant = -better * epsilon * (1 - epsilon)
    share = (np.sqrt(linear**2 - 8 * rows * constant) - linear) / (4 * rows)  # of better rows, under the hypothesis
    found: np.ndarray = (better - worse + rows * epsilon) / np.sqrt(rows * (2 * share + epsilon - epsilon**2))
    return found


def exact_bound(worse: int, better: int, rows: int) -> float:
    """One-sided 95% lower bound of the change in accuracy, cut to at most 0, to 0.0005."""
    low, high = 0.0, 1.0  # the smallest epsilon that the test rejects lies between
    while high - low > 5e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if exact_p(worse, better, rows, middle) <= ALPHA else (middle, high)
    return -high


@dataclass(frozen=True)
class Paired:
    """The answers of the whole model on the verification rows, which removals are held against.

    Attributes:
        labels: (rows,) class indices.
        before: (rows, outputs), logits of the whole model.
    """

    labels: np.ndarray
    before: np.ndarray

    def passes(self, after: np.ndarray, epsilon: float) -> bool:
        """Whether accuracy is shown to have fallen by less than epsilon."""
        return epsilon >= 1 or exact_p(*self._changed(after), len(self.labels), epsilon) <= ALPHA

    def bound(self, after: np.ndarray) -> float:
        """The one-sided 95% lower bound of the change in accuracy, at most 0."""
        return exact_bound(*self._changed(after), len(self.labels))

    def _changed(self, after: np.ndarray) -> tuple[int, int]:
        """How many answers became wrong, and how many right."""
        was, now = (output.argmax(axis=1) == self.labels for output in (self.before, after))
        return int((was & ~now).sum()), int((now & ~was).sum())


def verify_removal(paired: Paired, length: int, without: Callable[[int], np.ndarray], epsilon: float) -> Passed:
    """Tests removals of growing size in a fixed sequence.

    Args:
        paired: the whole model's outputs on the verification rows.
        length: of the order of removal.
        without: the outputs (rows, outputs) on the same rows with the first so many parts removed.
        epsilon: how far the true score may fall.
    """
    accepted: list[np.ndarray] = []  # outputs of the removal that passed last

    def passes(size: int) -> bool:
        after = without(size)
        if not paired.passes(after, epsilon):
            return False
        accepted[:] = [after]
        return True

    removed = fixed_sequence(sizes(length), passes)
    return Passed(removed, paired.bound(accepted[0]) if removed else 0.0)
