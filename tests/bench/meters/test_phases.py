from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench import run
from bench.meters import phases as module
from bench.meters.clock import Clock
from bench.meters.energy import EnergyFigures, absent_energy
from bench.meters.phases import Phases
from bench.records.spec import Measures
from bench.tasks.kinds.classes import Classes
from bench.training import loop
from bench.training.prepared import Setting
from tests.conftest import MakeSpec

CPU = torch.device("cpu")


class FakeEnergy:
    """Notes when it is switched on and off."""

    def __init__(self, events: list[str], country: str | None) -> None:
        self.events = events
        self.country = country
        self.figures: EnergyFigures = absent_energy("the phase has not ended")

    def __enter__(self) -> FakeEnergy:
        self.events.append("energy on")
        return self

    def __exit__(self, *_: object) -> None:
        self.events.append("energy off")
        self.figures = absent_energy(f"fake, {self.country}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.events.append("energy off")
        try:
            yield
        finally:
            self.events.append("energy on")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(module, "EnergyMeter", lambda country, pue: FakeEnergy(found, country))
    return found


def ticking(events: list[str]) -> Clock:
    """Every look at it takes a second and is noted."""

    def now() -> float:
        events.append("clock")
        return float(events.count("clock"))

    return Clock(now=now)


def test_a_pause_stops_clock_and_energy_and_the_meters_lie_outside_the_clock(events: list[str]) -> None:
    meters = Phases(ticking(events), device=CPU, country="FRA")
    with meters.phase("train"):
        events.append("step")
        with meters.paused():
            events.append("evaluation")
        events.append("step")
    assert events == [
        *("energy on", "clock", "step"),
        *("clock", "energy off", "evaluation", "energy on", "clock"),
        *("step", "clock", "energy off"),
    ]
    assert meters.seconds("train") == 2.0
    assert meters.energy["train"].reason == "fake, FRA"
    assert meters.seconds("infer") is None


@pytest.mark.parametrize("paused", [False, True])
def test_a_block_that_raises_still_reports(events: list[str], paused: bool) -> None:
    meters = Phases(ticking(events), device=CPU)

    def fail() -> None:
        with meters.phase("train"):
            if paused:
                with meters.paused():
                    raise KeyError("own")
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        fail()
    assert meters.seconds("train") == (2.0 if paused else 1.0)
    assert meters.energy["train"].reason == "fake, None"
    assert events[-1] == "energy off"
    assert events.count("energy on") == events.count("energy off")
    assert meters.cuda["train"].reason == "the device is cpu, not cuda"
    peak = meters.resident["train"]
    assert peak.peak_bytes is not None or peak.reason is not None
    with meters.phase("infer"):
        pass
    assert meters.seconds("infer") == 1.0, "the meters can be used again"


def test_energy_that_is_not_asked_for_is_not_metered(events: list[str]) -> None:
    meters = Phases(ticking(events), device=CPU, energy=False)
    with meters.phase("train"), meters.paused():
        pass
    assert set(events) == {"clock"}
    assert meters.energy == {}


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
    assert result.costs.train_examples_per_s == 48 / 6
    assert time.now > 10 * day
