"""Memory of a GPU: the peaks of torch's CUDA allocator in the training steps and in the forward passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from bench.meters.column import Column, Phase
from bench.meters.meter import Conditions, Figures, Finding, Meter, Observed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_METER = "torch's caching allocator"


class PeakSource(Protocol):
    """An allocator that remembers its peaks."""

    def reset(self) -> None:
        """Forgets the peaks; what is held now is the least that they can be."""

    def allocated(self) -> int:
        """The most bytes that tensors held since the reset."""

    def reserved(self) -> int:
        """The most bytes that the allocator held since the reset."""


class CudaAllocator:
    """torch's CUDA allocator of one device.

    Args:
        device: a CUDA device; without an index the current one, which is where the run's tensors go.
    """

    def __init__(self, device: torch.device) -> None:
        import torch

        self._index = torch.cuda.current_device() if device.index is None else device.index

    def reset(self) -> None:
        import torch

        torch.cuda.synchronize(self._index)
        torch.cuda.reset_peak_memory_stats(self._index)

    def allocated(self) -> int:
        import torch

        return torch.cuda.max_memory_allocated(self._index)

    def reserved(self) -> int:
        import torch

        return torch.cuda.max_memory_reserved(self._index)


class Cuda(Meter):
    """Measures the peaks of CUDA's allocator in each phase, without its pauses.

    The peaks are reset at the start and after each pause, and read at each pause and at the end. The allocator keeps
    what a pause made it reserve, so what counts as reserved is that of the first stretch: a warm-up at the largest
    batch comes before it, then nothing that the steps themselves need is reserved later. Cached blocks are handed back
    before that warm-up; this meter does not do it, else the steps would have to reserve them again within a clock.

    Args:
        source: the allocator to read; None: that of the run's device, if it is one of CUDA.
    """

    name: ClassVar[str] = "cuda"
    place: ClassVar[int] = 30
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="cuda_allocated_bytes",
            label="CUDA allocated",
            unit="bytes",
            group="memory",
            phase="train",
            says="Most bytes that torch had allocated on the GPU in the training steps; looks at the dev rows are left out.",
            formula="torch.cuda.max_memory_allocated, reset before the first step and after each look at the dev rows",
            meter=_METER,
            error="absent without a GPU",
        ),
        Column(
            key="cuda_reserved_bytes",
            label="CUDA reserved",
            unit="bytes",
            group="memory",
            phase="train",
            says="Most bytes that torch had reserved on the GPU in the training steps before the first look at the dev rows.",
            formula="torch.cuda.max_memory_reserved, reset after a warm-up on the longest training rows",
            meter=_METER,
            error="absent without a GPU; includes fragmentation",
        ),
        Column(
            key="infer_cuda_allocated_bytes",
            label="test CUDA allocated",
            unit="bytes",
            group="memory",
            phase="infer",
            says="Most bytes that torch had allocated on the GPU in the forward passes over the test rows.",
            formula="torch.cuda.max_memory_allocated, reset before the first pass",
            meter=_METER,
            error="absent without a GPU",
        ),
        Column(
            key="infer_cuda_reserved_bytes",
            label="test CUDA reserved",
            unit="bytes",
            group="memory",
            phase="infer",
            says="Most bytes that torch had reserved on the GPU in the forward passes over the test rows.",
            formula="torch.cuda.max_memory_reserved, reset after a warm-up on the longest test rows",
            meter=_METER,
            error="absent without a GPU; includes fragmentation, and what training left reserved",
        ),
    )

    def __init__(self, source: PeakSource | None = None) -> None:
        self._source = source
        self._allocated: dict[Phase, list[int]] = {}
        self._reserved: dict[Phase, list[int]] = {}

    def unsupported(self, conditions: Conditions) -> str | None:
        if self._source is not None:
            return None
        device = conditions.device.partition(":")[0]
        if device != "cuda":
            return f"the device is {device}, not cuda"
        import torch

        return None if torch.cuda.is_available() else "no CUDA device is to be had"

    def prepare(self, conditions: Conditions) -> None:
        if self._source is None:
            import torch

            self._source = CudaAllocator(torch.device(conditions.device))

    def start(self, phase: Phase) -> None:
        if self._source is not None:
            self._source.reset()

    def stop(self, phase: Phase) -> None:
        if self._source is not None:
            self._allocated.setdefault(phase, []).append(self._source.allocated())
            self._reserved.setdefault(phase, []).append(self._source.reserved())

    def observed(self, seen: Observed) -> Figures:
        allocated, reserved = max(self._allocated[seen.phase]), self._reserved[seen.phase][0]
        if seen.phase == "train":
            return {"cuda_allocated_bytes": allocated, "cuda_reserved_bytes": reserved}
        return {"infer_cuda_allocated_bytes": allocated, "infer_cuda_reserved_bytes": reserved}

    def doctor(self) -> Iterator[Finding]:
        import torch

        if torch.cuda.is_available():
            yield Finding("CUDA memory", "measured", "torch.cuda.max_memory_allocated and _reserved")
        else:
            yield Finding("CUDA memory", "absent", "no CUDA device")
