import pytest
import torch

from bench.meters.clock import Clock
from bench.meters.cuda import Cuda
from bench.meters.meter import Conditions, Observed
from bench.meters.phases import Phases
from bench.records.spec import Measures

SEEN = Observed("train", 1.0, 8)


def test_without_cuda_its_peaks_are_absent_with_a_reason():
    assert Cuda().unsupported(Conditions("cpu", Measures())) == "the device is cpu, not cuda"


def test_cuda_is_asked_for_the_runs_own_device_and_read_when_the_block_raised(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: asked.append((name, device)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 + device)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 8 + device)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    for device, index in (("cuda:3", 3), ("cuda", 2)):
        meter, conditions = Cuda(), Conditions(device, Measures())
        assert meter.unsupported(conditions) is None
        meter.prepare(conditions)
        with pytest.raises(KeyError), Phases(Clock(), [meter]).phase("train"):
            raise KeyError
        assert asked[-2:] == [("synchronize", index), ("reset_peak_memory_stats", index)]
        assert list(meter.observed(SEEN).values()) == [5 + index, 8 + index]


class Allocator:
    """An allocator by hand: what it holds, and what it keeps of what was freed."""

    def __init__(self):
        self.held = self.kept = self.peak = 0

    def hold(self, size):
        self.held += size
        self.peak = max(self.peak, self.held)
        self.kept = max(self.kept, self.held)

    def reset(self):
        self.peak = self.held

    def allocated(self):
        return self.peak

    def reserved(self):
        return self.kept


@pytest.mark.parametrize("raises", [False, True])
def test_a_pause_is_in_no_peak(raises):
    source = Allocator()
    source.hold(1000)
    source.hold(-1000)
    source.kept = 50  # handed back
    meter = Cuda(source)
    phases = Phases(Clock(), [meter])
    with phases.phase("train"):
        for size in (70, 30):
            source.hold(size)
            source.hold(-size)
            try:
                with phases.paused():
                    source.hold(500)
                    source.hold(-500)
                    if raises:
                        raise KeyError
            except KeyError:
                pass
    assert meter.observed(SEEN) == {"cuda_allocated_bytes": 70, "cuda_reserved_bytes": 70}
    with phases.phase("infer"):
        source.hold(10)
    infer = meter.observed(Observed("infer", 1.0, 8))
    assert infer["infer_cuda_allocated_bytes"] == 10, "each phase is reset by itself"
