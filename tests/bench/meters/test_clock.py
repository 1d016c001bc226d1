import pytest
import torch

from bench.meters.clock import Clock, Time, synchronizer
from bench.meters.meter import Absent, Observed


class FakeTime:
    """Stands still until it is moved."""

    def __init__(self):
        self.now_s = 100.0
        self.asked = []

    def __call__(self):
        self.asked.append("now")
        return self.now_s

    def synchronize(self):
        self.asked.append("synchronize")


def test_only_the_phase_without_its_pauses_costs_time():
    time = FakeTime()
    clock = Clock(now=time)
    time.now_s += 50  # loading
    with clock.phase("train"):
        time.now_s += 2
        with clock.paused():
            time.now_s += 30  # evaluation and checkpoint choice
        time.now_s += 3
    time.now_s += 7  # restoring the checkpoint
    with clock.phase("infer"):
        time.now_s += 1
    with clock.phase("train"):
        time.now_s += 4
    assert clock.seconds("train") == 9
    assert clock.phases["train"].paused_s == 30
    assert clock.phases["train"].entries == 2
    assert clock.seconds("infer") == 1
    assert clock.seconds("never") is None


def test_a_phase_that_raises_stops_and_reports():
    time = FakeTime()
    clock = Clock(now=time)

    def fail():
        with clock.phase("train"):
            time.now_s += 2
            raise ValueError("the block's own")

    with pytest.raises(ValueError, match="the block's own"):
        fail()
    time.now_s += 10
    assert clock.seconds("train") == 2
    assert clock.phases["train"].interrupted
    with clock.phase("infer"):  # nothing hangs on
        time.now_s += 1
    assert not clock.phases["infer"].interrupted


def test_a_pause_that_raises_does_not_count_and_ends_with_its_phase():
    time = FakeTime()
    clock = Clock(now=time)

    def fail():
        with clock.phase("train"):
            time.now_s += 2
            clock.pause()
            time.now_s += 5
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert clock.seconds("train") == 2
    assert clock.phases["train"].paused_s == 5


def test_the_device_is_waited_for_before_the_time_is_read_at_every_edge():
    time = FakeTime()
    clock = Clock(now=time, synchronize=time.synchronize)
    with clock.phase("train"), clock.paused():
        pass
    assert time.asked == ["synchronize", "now"] * 4


def test_a_device_that_fails_at_the_end_loses_no_time():
    time = FakeTime()
    broken = False

    def synchronize():
        if broken:
            raise RuntimeError("device lost")

    clock = Clock(now=time, synchronize=synchronize)

    def run():
        nonlocal broken
        with clock.phase("train"):
            time.now_s += 2
            broken = True

    with pytest.raises(RuntimeError, match="device lost"):
        run()
    assert clock.seconds("train") == 2
    assert clock.phases["train"].interrupted


def test_misuse_is_refused():
    clock = Clock(now=FakeTime())
    with pytest.raises(RuntimeError, match="no phase is running"):
        clock.pause()
    with clock.phase("train"):
        with pytest.raises(RuntimeError, match="no phase is paused"):
            clock.resume()
        with pytest.raises(RuntimeError, match="starts inside"), clock.phase("infer"):
            pass
    assert clock.seconds("infer") is None


def test_throughput_is_work_over_observed_time():
    meter = Time()
    seen = Observed("infer", 2.0, 10, {(5, 30): 2}, useful_tokens=240)
    assert meter.observed(seen) == {
        "infer_examples_per_s": 5,
        "infer_useful_tokens_per_s": 120,
        "infer_tokens_per_s": 150,
    }
    nothing = meter.observed(Observed("train", 0.0, 10, {(5, 30): 2}))
    assert set(nothing.values()) == {Absent("no time passed")}


def test_only_devices_that_queue_work_are_waited_for():
    assert synchronizer("cpu") is None
    cuda = synchronizer("cuda:0")
    assert cuda.func is torch.cuda.synchronize
    assert cuda.args == (torch.device("cuda:0"),)
