"""The phases of a run under all meters at once: the clock inside, the other meters around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.errors import described

if TYPE_CHECKING:
    from bench.meters.clock import Clock
    from bench.meters.column import Phase
    from bench.meters.meter import Meter


class Phases:
    """Starts and stops meters around the phases of a run. A pause stops all of them, and the clock.

    What the meters do lies outside the clock. An object of this class takes a clock's place in the training loop. A
    meter whose `start` or `stop` raises is left out from then on, and `failed` says why.

    Args:
        clock: times the phases.
        meters: started in this order and stopped in the reverse order, so that the last one is nearest to the clock.

    Examples:
        >>> from bench.meters.clock import Clock
        >>> phases = Phases(Clock(now=iter([0.0, 5.0, 7.0, 9.0]).__next__))
        >>> with phases.phase("train"):
        ...     with phases.paused():
        ...         pass  # an evaluation on the dev rows, from 5.0 to 7.0
        >>> phases.seconds("train")
        7.0
    """

    def __init__(self, clock: Clock, meters: Sequence[Meter] = ()) -> None:
        self._clock = clock
        self._meters = list(meters)
        self._phase: Phase | None = None
        self.failed: dict[str, str] = {}

    def seconds(self, name: Phase) -> float | None:
        """The observed seconds of a phase; None if it never ran."""
        return self._clock.seconds(name)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Meters the block as phase `name`."""
        self._phase = name
        self._start(name)
        try:
            with self._clock.phase(name):
                yield
        finally:
            self._stop(name)
            self._phase = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the block out of the phase."""
        phase = self._phase
        with self._clock.paused():
            if phase is None:
                yield
                return
            self._stop(phase)
            try:
                yield
            finally:
                self._start(phase)

    def _start(self, name: Phase) -> None:
        for meter in list(self._meters):
            self._call(meter, meter.start, name)

    def _stop(self, name: Phase) -> None:
        for meter in reversed(list(self._meters)):
            self._call(meter, meter.stop, name)

    def _call(self, meter: Meter, hook: Callable[[Phase], None], name: Phase) -> None:
        try:
            hook(name)
        except Exception as error:  # a meter that fails costs its own figures, not the run
            self.failed[meter.name] = described(error)
            self._meters.remove(meter)
