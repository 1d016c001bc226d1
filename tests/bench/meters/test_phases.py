from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench import run
from bench.meters.clock import Clock
from bench.meters.column import Phase
from bench.meters.meter import Meter
from bench.meters.phases import Phases
from bench.records.spec import Measures
from bench.tasks.kinds.classes import Classes
from bench.training import loop
from bench.training.prepared import Setting
from tests.conftest import MakeSpec


class Noting(Meter):
    """Notes when it is started and stopped."""

    name = "noting"

    def __init__(self, events: list[str], mark: str = "meter") -> None:
        self.events, self.mark = events, mark

    def start(self, phase: Phase) -> None:
        self.events.append(f"{self.mark} on")

    def stop(self, phase: Phase) -> None:
        self.events.append(f"{self.mark} off")


def ticking(events: list[str]) -> Clock:
    """Every look at it takes a second and is noted."""

    def now() -> float:
        events.append("clock")
        return float(events.count("clock"))

    return Clock(now=now)


def test_a_pause_stops_clock_and_meters_and_the_meters_lie_outside_the_clock() -> None:
    events: list[str] = []
    phases = Phases(ticking(events), [Noting(events, "outer"), Noting(events, "inner")])
    with phases.phase("train"):
        events.append("step")
        with phases.paused():
            events.append("evaluation")
        events.append("step")
    on, off = ["outer on", "inner on"], ["inner off", "outer off"]
    assert events == [*on, "clock", "step", "clock", *off, "evaluation", *on, "clock", "step", "clock", *off]
    assert phases.seconds("train") == 2.0
    assert phases.seconds("infer") is None


@pytest.mark.parametrize("paused", [False, True])
def test_a_block_that_raises_still_stops_all(paused: bool) -> None:
    events: list[str] = []
    phases = Phases(ticking(events), [Noting(events)])

    def fail() -> None:
        with phases.phase("train"):
            if paused:
                with phases.paused():
                    raise KeyError("own")
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        fail()
    assert phases.seconds("train") == (2.0 if paused else 1.0)
    assert events[-1] == "meter off"
    assert events.count("meter on") == events.count("meter off")
    with phases.phase("infer"):
        pass
    assert phases.seconds("infer") == 1.0, "the meters can be used again"


def test_a_meter_that_fails_is_left_out_and_the_phase_goes_on() -> None:
    class Broken(Meter):
        name = "broken"

        def start(self, phase: Phase) -> None:
            raise OSError("no counter")

        def stop(self, phase: Phase) -> None:
            raise AssertionError("never started")

    events: list[str] = []
    phases = Phases(ticking(events), [Broken(), Noting(events)])
    with phases.phase("train"), phases.paused():
        pass
    assert events.count("meter on") == 2
    assert phases.failed["broken"].startswith("OSError: no counter (test_phases.py, line")


def slowed(function: Any, time: SimpleNamespace, seconds: float) -> Any:
    """The same function, which takes so long on the fake clock."""

    def slow(*arguments: Any, **settings: Any) -> Any:
        time.now += seconds
        return function(*arguments, **settings)

    return slow


@pytest.mark.parametrize("method", ["lora", "prefix", "unipelt"])
def test_loading_evaluation_and_checkpoint_choice_cost_nothing(
    method: str, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them takes days on this clock, a training step a second, and a pass over the test rows an hour."""
    time = SimpleNamespace(now=0.0)
    day = 86_400.0
    for owner, name in (
        (run, "prepare"),
        (Setting, "scores"),
        (loop, "make_optimizer"),
        (loop, "snapshot"),
        (loop, "overwrite"),
        (run, "count_parameters"),
        (run, "gate_frame"),
        (run, "measure"),
        (run, "fingerprint"),
        (run, "warm_up_training"),
        (run, "warm_up_inference"),
        (run, "prepared_meters"),
        (run.CostSheet, "observe"),
        (run.CostSheet, "measure_training"),
        (run.CostSheet, "measure_inference"),
    ):
        monkeypatch.setattr(owner, name, slowed(getattr(owner, name), time, day))
    monkeypatch.setattr(Setting, "logits", slowed(Setting.logits, time, 3600.0))
    monkeypatch.setattr(Classes, "loss", slowed(Classes.loss, time, 1.0))
    spec = make_spec(method, k=24, batch_size=8, epochs=2)
    outcome = run.execute(spec, measures=Measures(energy=False), clock=Clock(now=lambda: time.now))
    result = outcome.record.result
    assert result is not None
    assert result.steps == 6
    assert result.train_time_s == 6.0
    assert result.infer_time_s == 3600.0
    assert result.costs is not None
    assert result.costs.figures["train_examples_per_s"] == 48 / 6
    assert time.now > 10 * day
