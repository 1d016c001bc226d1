"""The progress of a run, which its process reports to the one that shows it (`bench.grid.display`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """The progress of a run.

    Attributes:
        phase: `train` after a training step, `dev` after an evaluation.
        done: the number of optimizer steps so far.
        total: the largest number of steps; training may stop earlier.
        score: the best dev score so far; None before the first evaluation.
    """

    phase: str
    done: int
    total: int
    score: float | None

    def as_line(self) -> str:
        """Writes the progress as a line of JSON, for an executor that reads only the output of its processes."""
        return json.dumps(self._asdict())

    @classmethod
    def of_line(cls, line: str) -> Progress | None:
        """Reads a line that `as_line` wrote; returns None for any other line.

        Examples:
            >>> Progress.of_line(Progress("train", 3, 10, None).as_line())
            Progress(phase='train', done=3, total=10, score=None)
            >>> Progress.of_line("a warning of some library")
        """
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None


ReportProgress = Callable[[Progress], None]
"""A function that is called with each progress of a run."""
