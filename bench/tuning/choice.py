"""Which trial is chosen, by its dev score alone, and whether the choice stands at the edge of what was searched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import UserError
from bench.tuning.space import Axis

EDGE = 0.05
"""A choice within this share of its range from an end counts as at the edge, even if a draw lies beyond it."""

EXTENSION = 0.4
"""By how much of its range a choice at the edge is followed, once: one decade of two and a half."""

Edge = Literal["low", "high"]


@dataclass(frozen=True)
class Trial:
    """One draw: its learning rate (or whichever axis is ordered), and its dev score; None where the run failed."""

    rate: float
    score: float | None


@dataclass(frozen=True)
class Choice:
    """The chosen trial.

    Attributes:
        at: its place among the trials.
        rate: its value.
        score: its dev score. It is the greatest of all, so it flatters: a fresh run tells how good the setting is.
        tied: how many trials have that score.
        failed: how many trials failed.
        edge: the end of the range that it stands at; None where the range holds it.
    """

    at: int
    rate: float
    score: float
    tied: int
    failed: int
    edge: Edge | None


def choose(trials: Sequence[Trial], axis: Axis) -> Choice | None:
    """The trial of the highest dev score; of those that tie, the one of the smallest rate.

    A small rate is the one that fails least with other seeds. (Of shares of 100 dev rows often several tie. To take the
    middle one of them instead gains 0.0003 of score in simulation, `python -m benchmarks.decisions`.)

    It is at an edge where no trial beyond it shows that scores fall again: it is the outermost draw of all, failed ones
    included, on that side; or where it lies within `EDGE` of the end of the range. With 12 draws a choice in truth
    well inside is flagged now and then; that costs some more trials, and nothing else.

    Args:
        trials: all of one method and task.
        axis: the range that they were drawn from.

    Returns:
        None where no trial has a finite score.

    Raises:
        UserError: there is no trial, or the axis is a list of choices.

    Examples:
        >>> axis = Axis(low=1e-4, high=1e-1)
        >>> trials = [Trial(1e-3, 0.75), Trial(1e-2, 0.75), Trial(3e-4, 0.5), Trial(5e-2, None)]
        >>> choose(trials, axis)
        Choice(at=0, rate=0.001, score=0.75, tied=2, failed=1, edge=None)
        >>> choose(trials[:2], axis).edge
        'low'
    """
    if not trials:
        raise UserError("no trial to choose from; give --trials 1 or more")
    finished = [(at, trial.rate, trial.score) for at, trial in enumerate(trials) if is_finished(trial)]
    scores = [score for _, _, score in finished if score is not None]
    if not scores:
        return None
    highest = max(scores)
    tied = [(rate, at) for at, rate, score in finished if score == highest]
    rate, at = min(tied)
    return Choice(
        at=at,
        rate=rate,
        score=highest,
        tied=len(tied),
        failed=len(trials) - len(finished),
        edge=edge_of(rate, [trial.rate for trial in trials], axis),
    )


def is_finished(trial: Trial) -> bool:
    """Whether the trial has a score that can be compared."""
    return trial.score is not None and math.isfinite(trial.score)


def edge_of(rate: float, drawn: Sequence[float], axis: Axis) -> Edge | None:
    """The end of the range that a rate stands at; where it is the only one drawn, the nearer end."""
    position = axis.position(rate)
    if position <= EDGE:
        return "low"
    if position >= 1 - EDGE:
        return "high"
    lowest, highest = rate <= min(drawn), rate >= max(drawn)
    if lowest and highest:
        return "low" if position < 0.5 else "high"
    return "low" if lowest else "high" if highest else None


def curve_scores(trials: Sequence[Trial], *, floor: float) -> list[float]:
    """The score of each trial as a tuning curve counts it: a failed one has the floor's, that of no training at all.

    Raises:
        UserError: the floor has no score.

    Examples:
        >>> curve_scores([Trial(1e-3, 0.75), Trial(1e-1, None)], floor=0.25)
        [0.75, 0.25]
    """
    if not math.isfinite(floor):
        raise UserError("the floor has no score on dev, which failed trials count with; run the floor's method too")
    return [float(trial.score) if is_finished(trial) and trial.score is not None else floor for trial in trials]


def extension_trials(trials: int, share: float = EXTENSION) -> int:
    """How many draws follow a choice beyond its edge: as densely as the range was searched, at least one.

    Examples:
        >>> extension_trials(12)
        5
    """
    return max(1, math.ceil(trials * share))
