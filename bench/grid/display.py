"""The display of a grid: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from bench.progress import Progress

if TYPE_CHECKING:
    from bench.records.spec import RunSpec
    from bench.records.store import Record


class Display(Protocol):
    """What a grid tells about itself."""

    def start(self, spec: RunSpec, number: int) -> None:
        """A run begins, the `number`th of those to do, from 1."""

    def update(self, progress: Progress) -> None:
        """The run goes on."""

    def end(self, record: Record) -> None:
        """The run is over."""


class Lines:
    """One line a run, for files and pipes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0

    def start(self, spec: RunSpec, number: int) -> None:
        self._number = number

    def update(self, progress: Progress) -> None:
        """Says nothing until the run is over."""

    def end(self, record: Record) -> None:
        print(f"[{self._number}/{self._total}] {summary(record)}", file=sys.stderr, flush=True)


class Bars:
    """A bar for the grid and one for the run, over the lines of what is done."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self.bars = Rich(
            *columns,
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._grid = self.bars.add_task("grid", total=total)
        self._run = self.bars.add_task("run", total=None)

    def start(self, spec: RunSpec, number: int) -> None:
        self.bars.reset(self._run, total=None, description=spec.title)

    def update(self, progress: Progress) -> None:
        self.bars.update(self._run, completed=progress.done, total=progress.total)

    def end(self, record: Record) -> None:
        self.bars.console.print(summary(record), markup=False, highlight=False)
        self.bars.advance(self._grid)


@contextmanager
def display(total: int) -> Iterator[Display]:
    """Bars if stderr is a terminal, else lines.

    Args:
        total: runs to do.
    """
    if not sys.stderr.isatty():
        yield Lines(total)
        return
    bars = Bars(total)
    with bars.bars:
        yield bars


def summary(record: Record) -> str:
    """A finished run in a line."""
    if record.result is None:
        return f"{record.asked.title}: {record.status}: {record.reason}"
    headline = record.result.headline
    score = record.result.test_scores.get(headline)
    text = f"{headline} {'undefined' if score is None else f'{score:.3f}'}"
    lacking = "" if record.complete else f"; without all of its costs: {record.reason}"
    return f"{record.asked.title}: {text} ({record.wall_time_s:.1f} s){lacking}"
