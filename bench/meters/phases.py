"""All meters of a phase at once: the clock inside, energy and memory around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bench.meters.clock import Clock
from bench.meters.energy import EnergyFigures, EnergyMeter
from bench.meters.resident import ResidentMemory, ResidentPeak

if TYPE_CHECKING:
    import torch

    from bench.meters.instruments.live_tensors import CudaMemory, CudaPeak, PeakSource


class Phases:
    """Meters named phases of a run; a pause stops clock, energy and the peaks of CUDA.

    The meters' own starts and stops lie outside the clock. Takes a clock's place in the training loop.

    Args:
        clock: times the phases.
        device: whose memory to watch.
        energy: whether to meter energy; the tracker's first start in a process takes seconds.
        country: three-letter ISO code of the grid's country; None: no CO2e.
        pue: power usage effectiveness of the data centre, for the CO2e.
        peaks: the allocator whose peaks to read; None: the device's, if it has one.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        device: torch.device,
        energy: bool = True,
        country: str | None = None,
        pue: float = 1.0,
        peaks: PeakSource | None = None,
    ) -> None:
        self._clock = clock
        self._device = device
        self._metered = energy
        self._country = country
        self._pue = pue
        self._peaks = peaks
        self._running: EnergyMeter | None = None
        self._cuda: CudaPeak | None = None
        self.energy: dict[str, EnergyFigures] = {}
        self.cuda: dict[str, CudaMemory] = {}
        self.resident: dict[str, ResidentMemory] = {}

    def seconds(self, name: str) -> float | None:
        """The observed seconds of a phase; None if it never ran."""
        return self._clock.seconds(name)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Meters the block as phase `name`."""
        from bench.meters.instruments.live_tensors import CudaPeak

        meter = EnergyMeter(country=self._country, pue=self._pue) if self._metered else None
        cuda, resident = CudaPeak(self._device, source=self._peaks), ResidentPeak()
        try:
            with ExitStack() as stack:
                stack.enter_context(resident)
                self._cuda = stack.enter_context(cuda)
                if meter is not None:
                    self._running = stack.enter_context(meter)
                stack.enter_context(self._clock.phase(name))
                yield
        finally:
            self._running = self._cuda = None
            self.cuda[name], self.resident[name] = cuda.figures, resident.figures
            if meter is not None:
                self.energy[name] = meter.figures

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the block out of time, energy and the peaks of CUDA."""
        with ExitStack() as stack:
            stack.enter_context(self._clock.paused())
            if self._running is not None:
                stack.enter_context(self._running.paused())
            if self._cuda is not None:
                stack.enter_context(self._cuda.paused())
            yield
