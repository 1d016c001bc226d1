"""`bench gates` end to end on a tiny model, and its tables on planted truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.config import Job, Measures
from bench.gating.study import REMOVED, GateStudy, study, trained_setting
from bench.store import Record, gates_path
from bench.worker import work
from reports.gates.frames import load
from reports.gates.tables import gate_tables, variance
from reports.gates.write import write_gates
from tests.conftest import tiny_spec

METHOD = "unipelt[hidden=8,length=3,bottleneck=4,r=2]"
QUICK = Measures(costs=False, energy=False, effective=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    out = tmp_path_factory.mktemp("gates")
    specs = [
        tiny_spec(method, seed=seed, epochs=2) for method in (METHOD, f"{METHOD[:-1]},gate=none]") for seed in (0, 1)
    ]
    records = [work(Job(run=spec, measures=QUICK), out) for spec in specs]
    assert all(record.status == "ok" for record in records)
    return out, records


def test_recorded_values_are_the_models(finished: tuple[Path, list[Record]]) -> None:
    out, records = finished
    frame = pd.read_parquet(gates_path(out, records[0].digest))
    gates = GateStudy(trained_setting(out, records[0]), 20)
    own = gates.value_frame()
    kept = frame[(frame["split"] == "test") & (frame["example"] < 20)]
    joined = own.merge(kept, on=["layer", "part", "example"], suffixes=("", "_run"))
    assert len(joined) == len(own) == 20 * 2 * 3
    np.testing.assert_allclose(joined["value"], joined["value_run"], atol=1e-6)
    np.testing.assert_allclose(joined["loss"], joined["loss_run"], atol=1e-5)
    assert not np.allclose(own["value"], own["value_padded"]), "the padded mean is another one"


def test_learned_is_the_model_itself_and_removed_the_backbone(finished: tuple[Path, list[Record]]) -> None:
    out, records = finished
    setting = trained_setting(out, records[0])
    gates = GateStudy(setting, 20)
    acts = gates.intervention_frame(np.full(6, 0.5), {})
    losses = {name: group.sort_values("example")["loss"].to_numpy() for name, group in acts.groupby("intervention")}
    np.testing.assert_allclose(losses["learned"], gates.losses(), atol=1e-5)
    np.testing.assert_allclose(losses["own mean"], losses["all half"], atol=1e-6)
    for part in setting.method.parts_of(setting.classifier.backbone, {}):
        part.remove()
    np.testing.assert_allclose(losses[REMOVED], gates.losses(), atol=1e-6)


def test_everything_is_written_with_its_sentence(finished: tuple[Path, list[Record]]) -> None:
    out, records = finished
    label = records[0].asked.method.label
    runs = [record for record in records if record.asked.method.label == label]
    assert [now for _, now in study(out, runs, examples=20)] == [True, True]
    assert [now for _, now in study(out, runs, examples=20)] == [False, False], "it goes on where it stopped"
    paths = write_gates(out, records, label, examples=20)
    names = {path.name for path in paths}
    assert {
        "means.csv",
        "variance.csv",
        "interventions.csv",
        "retrained.csv",
        "value_and_effect.csv",
        "gates.md",
    } <= names
    assert {"variance_bars.svg", "variance_bars.png", "distributions.svg"} <= names
    for path in paths:
        if path.suffix in {".csv", ".svg"}:
            assert len(path.with_suffix(".txt").read_text().strip()) > 40, f"{path.name} has no sentence"


def test_planted_truth_stands_in_the_right_place(finished: tuple[Path, list[Record]]) -> None:
    """Values driven by length alone under padding: the confound shows raw and is gone with the length held."""
    out, records = finished
    label = records[0].asked.method.label
    found = load(out, records, label, examples=20)
    frame = found.values.copy()
    rng = np.random.default_rng(0)
    frame["value"] = rng.normal(scale=1e-4, size=len(frame)) + np.where(frame["part"] == "lora", 0.8, 0.2)
    frame["value_padded"] = frame["length"] / 100 + rng.normal(scale=1e-6, size=len(frame))
    table = variance(type(found)(found.method, frame, found.effects, found.acts, found.records))
    assert table is not None
    shares = table.rows.set_index(["mean", "kind", "term"])["share"]
    assert shares["masked", "raw", "part"] > 0.95
    assert shares["padded", "raw", "example"] > 0.95
    assert shares["padded", "length held", "length"] > 0.95
    assert abs(shares["padded", "length held", "example"]) < 0.05


def test_one_seed_gets_no_verdict(finished: tuple[Path, list[Record]]) -> None:
    out, records = finished
    label = records[0].asked.method.label
    alone = [record for record in records if record.asked.model_seed == 0]
    for table in gate_tables(load(out, alone, label, examples=20)):
        if "low" in table.rows and table.name in {"interventions", "retrained", "variance"}:
            assert table.rows["low"].isna().all()
            assert "One seed" in table.says
