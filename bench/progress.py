"""How far a run and a grid are: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

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


Report = Callable[[Progress], None]
