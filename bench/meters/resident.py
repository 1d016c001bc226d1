"""Resident memory of a process: its high-water mark, under a malloc that gives freed blocks back.

Nothing heavy is imported, so that malloc can be tuned before torch allocates.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from bench.meters.allocator import M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, glibc, set_malloc
from bench.meters.column import Column
from bench.meters.meter import Absent, Alone, Conditions, Figures, Finding, Meter

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

THRESHOLD_BYTES = 64 * 1024


class Resident(Meter):
    """Measures the resident peak of a run's largest batches, in a process of its own.

    A tuned malloc gives freed blocks back at once, which makes the peak repeatable and the steps slow: so it cannot be
    measured in the run that is timed.
    """

    name: ClassVar[str] = "resident"
    every_seed: ClassVar[bool] = False
    place: ClassVar[int] = 20
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="resident_peak_bytes",
            label="resident memory",
            unit="bytes",
            group="memory",
            says="Resident high-water mark of a process of its own that trains and infers on the run's largest batches.",
            formula="VmHWM, reset after loading, over three training steps and a forward pass",
            meter="the kernel, in a child whose malloc hands freed blocks back at once; the first seed that finishes",
            error="includes the interpreter and libraries (about 0.5 GB, the same for all); Linux and glibc alone",
        ),
    )

    def unsupported(self, conditions: Conditions) -> str | None:
        return None if conditions.measures.resident else "not asked for"

    def alone(self, run: Alone) -> Figures:
        tuned = tune_malloc()  # first of all: blocks handed out before stay as they are
        if not tuned.tuned:
            return {"resident_peak_bytes": Absent(tuned.reason or "malloc cannot be tuned here")}
        from bench.costs.memory import resident_peak

        figures = resident_peak(run)
        peak = figures.peak_bytes
        return {"resident_peak_bytes": Absent(figures.reason or "unknown") if peak is None else peak}

    def doctor(self) -> Iterator[Finding]:
        with ResidentPeak() as meter:
            pass
        if meter.figures.peak_bytes is None:
            remedy = "run on Linux with /proc writable"
            yield Finding("resident memory", "absent", meter.figures.reason or "unknown", remedy)
        else:
            yield Finding("resident memory", "measured", "VmHWM, reset through /proc/self/clear_refs")
        glibc = sys.platform.startswith("linux")
        how = "glibc: bench tunes it in a child that measures resident memory"
        yield Finding("malloc", "ok", how if glibc else "not glibc: its peak overstates")


@dataclass(frozen=True)
class MallocTuning:
    """Whether malloc hands freed blocks back to the system at once; the reason if not."""

    tuned: bool
    reason: str | None = None


@dataclass(frozen=True)
class ResidentMemory:
    """Resident bytes of this process over one phase; None with a reason where they are not to be had.

    Attributes:
        peak_bytes: the high-water mark within the phase (VmHWM, reset at its start).
        start_bytes: resident at its start (VmRSS).
        reason: why both are None.
    """

    peak_bytes: int | None
    start_bytes: int | None
    reason: str | None = None


def tune_malloc() -> MallocTuning:
    """Makes glibc's malloc map blocks of 64 KiB and more, and trim at once, in one arena.

    Without it freed blocks stay resident and the high-water mark depends on the order of
    allocations. Call it first in the process, before torch is imported: arenas stay once made.
    """
    library, reason = glibc()
    if library is not None:
        settings = {
            "M_MMAP_THRESHOLD": (M_MMAP_THRESHOLD, THRESHOLD_BYTES),
            "M_TRIM_THRESHOLD": (M_TRIM_THRESHOLD, THRESHOLD_BYTES),
            "M_ARENA_MAX": (M_ARENA_MAX, 1),
        }
        reason = set_malloc(library, settings)
    return MallocTuning(reason is None, reason)


class ResidentPeak:
    """Measures the resident high-water mark of its block, which may raise.

        with ResidentPeak() as meter:
            train()
        meter.figures.peak_bytes

    The mark belongs to the whole process and has one reset, so these blocks do not nest.
    """

    figures: ResidentMemory

    def __enter__(self) -> ResidentPeak:
        self.figures = ResidentMemory(None, None, "the phase has not ended")
        self._start, self._reason = None, None
        try:
            _CLEAR.write_text("5")  # resets VmHWM to VmRSS
            self._start = _status_bytes("VmRSS")
        except OSError as error:
            self._reason = f"the high-water mark cannot be reset: {error}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        peak = None if self._reason else _status_bytes("VmHWM")
        reason = self._reason or (None if peak is not None else f"{_STATUS} has no VmHWM")
        self.figures = ResidentMemory(peak, self._start, reason)

    _start: int | None
    _reason: str | None


def _status_bytes(field: str) -> int | None:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None
