"""The display of a grid: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from bench.progress import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

    from bench.records.spec import RunSpec
    from bench.records.store import Record


class Display(Protocol):
    """What is shown of a grid's runs, of which several may be under way."""

    def start(self, spec: RunSpec, number: int) -> None:
        """Shows that a run begins, the `number`th of those to do, from 1."""

    def update(self, spec: RunSpec, progress: Progress) -> None:
        """Shows how far a run is; may be called from any thread."""

    def end(self, record: Record) -> None:
        """Shows what came of a run."""


class Lines:
    """One line a run, for files and pipes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._numbers: dict[str, int] = {}

    def start(self, spec: RunSpec, number: int) -> None:
        self._numbers[spec.digest] = number

    def update(self, spec: RunSpec, progress: Progress) -> None:
        """Says nothing until the run is over."""

    def end(self, record: Record) -> None:
        number = self._numbers.pop(record.digest)
        print(f"[{number}/{self._total}] {summary(record)}", file=sys.stderr, flush=True)


class Bars:
    """A bar for the grid and one for each run under way, below the lines of what is done."""

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
        self._runs: dict[str, TaskID] = {}

    def start(self, spec: RunSpec, number: int) -> None:
        self._runs[spec.digest] = self.bars.add_task(spec.title, total=None)

    def update(self, spec: RunSpec, progress: Progress) -> None:
        if (bar := self._runs.get(spec.digest)) is not None:  # it may come late
            self.bars.update(bar, completed=progress.done, total=progress.total)

    def end(self, record: Record) -> None:
        self.bars.remove_task(self._runs.pop(record.digest))
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
    trial = record.asked.is_trial
    score = ((record.result.dev_scores or {}) if trial else record.result.test_scores).get(headline)
    text = f"{'dev ' if trial else ''}{headline} {'undefined' if score is None else f'{score:.3f}'}"
    lacking = "" if record.complete else f"; without all of its costs: {record.reason}"
    seconds = "" if record.wall_time_s is None else f" ({record.wall_time_s:.1f} s)"
    return f"{record.asked.title}: {text}{seconds}{lacking}"
