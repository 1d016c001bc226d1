"""Resident memory of this process: its high-water mark within a phase, and a malloc that gives back.

Nothing heavy is imported, so that a worker can tune malloc before torch allocates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.meters.allocator import M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, glibc, set_malloc

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

THRESHOLD_BYTES = 64 * 1024


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
