"""Whether a score fell by less than epsilon, tested on rows that had no part in choosing what was removed.

Predictions before and after a removal come from the same rows, so every test here is paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ALPHA = 0.05
"""The most that the chance of a false `verified` may be."""
STEPS = 6
"""Sizes of removal that are tested at most: each costs one evaluation of the verification rows."""
GROUPS = 50
"""Of the jackknife: rows are left out in so many groups."""

Score = Callable[[np.ndarray, np.ndarray], float | None]
"""(labels, outputs) of some rows -> the score; None where it is undefined."""
Correct = Callable[[np.ndarray, np.ndarray], np.ndarray | None]
"""(outputs, labels) of some rows -> whether each answer is right, (rows,); None where no answer is right or wrong."""


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
    """The sizes of removal that are tested along an order of `length` parts, from few to all."""
    return sorted({math.ceil(length * step / steps) for step in range(1, steps + 1)}) if length else []


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


def jackknife_bound(labels: np.ndarray, before: np.ndarray, after: np.ndarray, score: Score) -> float | None:
    """One-sided 95% lower bound of a score's change: paired, by leaving out groups of rows; None if undefined.

    The groups' pseudo-values are held against Student's t (Miller 1974; Tukey 1958).
    """
    from scipy.stats import t

    def change(rows: np.ndarray) -> float:
        scores = score(labels[rows], after[rows]), score(labels[rows], before[rows])
        return math.nan if None in scores else float(scores[0]) - float(scores[1])  # type: ignore[arg-type]

    rows = np.arange(len(labels))
    groups = min(GROUPS, len(rows))
    if groups < 2:
        return None
    whole = change(rows)
    left_out = np.array([change(rows[rows % groups != group]) for group in range(groups)])
    pseudo = groups * whole - (groups - 1) * left_out
    bound = pseudo.mean() - t.ppf(1 - ALPHA, groups - 1) * pseudo.std(ddof=1) / math.sqrt(groups)
    return float(bound) if math.isfinite(bound) else None


@dataclass(frozen=True)
class Paired:
    """The outputs of the whole model on the verification rows, which removals are held against.

    Attributes:
        correct: tells which answers are right, as `Kind.correct`.
        labels: (rows,).
        before: (rows, outputs), of the whole model.
        score: the headline score.
        by_accuracy: whether the headline score is the share of right answers.
    """

    correct: Correct
    labels: np.ndarray
    before: np.ndarray
    score: Score
    by_accuracy: bool

    def passes(self, after: np.ndarray, epsilon: float) -> bool:
        """Whether the score is shown to have fallen by less than epsilon.

        Of a score of classes other than accuracy two things are asked: its own jackknife bound, and accuracy's
        exact test. A jackknife over rows of which hardly any changed its answer has no spread to see.
        """
        if epsilon >= 1 and self.by_accuracy:
            return True
        changed = self._changed(after)
        if changed is not None and exact_p(*changed, len(self.labels), min(epsilon, 1 - 1e-9)) > ALPHA:
            return False
        if self.by_accuracy:
            return True
        bound = jackknife_bound(self.labels, self.before, after, self.score)
        return bound is not None and bound > -epsilon

    def bound(self, after: np.ndarray) -> float:
        """The lower bound of the score's change, at most 0."""
        changed = self._changed(after)
        exact = 0.0 if changed is None else exact_bound(*changed, len(self.labels))
        if self.by_accuracy:
            return exact
        own = jackknife_bound(self.labels, self.before, after, self.score)
        assert own is not None, "asked only of what passed"
        return min(exact, own, 0.0)

    def _changed(self, after: np.ndarray) -> tuple[int, int] | None:
        """How many answers became wrong, and how many right; None where no answer is right or wrong."""
        was, now = self.correct(self.before, self.labels), self.correct(after, self.labels)
        if was is None or now is None:
            return None
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
