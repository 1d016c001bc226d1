"""How far a run and a grid are: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        phase: `train` or `dev`.
        done: optimizer steps so far.
        total: of at most so many.
        score: the best dev score so far; None before there is one.
    """

    phase: str
    done: int
    total: int
    score: float | None

    def as_line(self) -> str:
        """This as a line of JSON, for a process that only another's output reaches."""
        return json.dumps(self._asdict())

    @classmethod
    def of_line(cls, line: str) -> Progress | None:
        """What `as_line` wrote; None of any other line.

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
