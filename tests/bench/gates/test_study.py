"""`bench gates` end to end on a tiny model, and its tables on planted truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.gates.selection import select
from bench.gates.study import REMOVED, GateStudy, drawn_rows, study_runs
from bench.grid.worker import work
from bench.parts.trained import trained_setting
from bench.records.spec import Job, Measures
from bench.records.store import Record, gates_path, weights_path
from reports.gates.frames import Study, load
from reports.gates.ties import variance
from reports.gates.write import gate_tables, write_gates
from tests.conftest import bench, tiny_spec

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
    kept = frame[(frame["split"] == "test") & frame["example"].isin(gates.rows)]
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


def studied(out: Path, records: list[Record], *, examples: int = 20) -> Study:
    chosen = select(out, records, method=records[0].asked.method.label)
    files = {done.record.digest: done.files for done in study_runs(out, chosen.runs, examples=examples)}
    return load(chosen.runs, records, files, examples=examples)


def test_everything_is_written_with_its_sentence(finished: tuple[Path, list[Record]]) -> None:
    out, records = finished
    runs = select(out, records).runs
    assert [done.now for done in study_runs(out, runs, examples=20)] == [True, True]
    assert [done.now for done in study_runs(out, runs, examples=20)] == [False, False], "it goes on where it stopped"
    paths = write_gates(out, studied(out, records))
    names = {path.name for path in paths}
    tables = {"means", "variance", "value_and_effect", "correlations", "interventions", "retrained"}
    drawn = {"heat_map_synthetic", "distributions", "variance_bars", "interventions_synthetic", "retrained_synthetic"}
    drawn |= {"gate_against_contribution_synthetic", "gate_against_loss_change_synthetic"}
    assert {f"{name}{suffix}" for name in tables for suffix in (".csv", ".md", ".txt")} <= names
    assert {f"{name}{suffix}" for name in drawn for suffix in (".svg", ".png", ".txt")} <= names
    for path in paths:
        if path.suffix in {".csv", ".svg"}:
            said = path.with_suffix(".txt").read_text()
            assert len(said) > 80, f"{path.name} has no sentence"
            assert f"Runs: {records[0].asked.method.label}, tiny, K=24, synthetic; 2 seeds" in said
    assert "drawn with seed 0" in (out / "gates" / "gates.md").read_text()
    (out / "gates" / ".written").write_text("heat_map_other.svg\nvariance.csv\n")
    (out / "gates" / "heat_map_other.svg").touch()
    (out / "gates" / "mine.svg").touch()
    write_gates(out, studied(out, records))
    assert not (out / "gates" / "heat_map_other.svg").exists(), "an earlier study's figure does not stay"
    assert (out / "gates" / "mine.svg").exists()
    assert (out / "gates" / "variance.csv").exists()


def test_rows_are_drawn_over_the_whole_test_set_and_the_same_each_time() -> None:
    rows = drawn_rows(300, 20)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == 20
    assert rows.max() > 150, "not the first ones"
    np.testing.assert_array_equal(rows, drawn_rows(300, 20))
    np.testing.assert_array_equal(drawn_rows(5, 20), np.arange(5))


def test_runs_of_one_model_seed_stay_apart(tmp_path: Path) -> None:
    """Two draws of the rows under one model seed are two runs, in the variance and in every pairing."""
    specs = [tiny_spec(METHOD, epochs=1).model_copy(update={"data_seed": seed}) for seed in (0, 1)]
    records = [work(Job(run=spec, measures=QUICK), tmp_path) for spec in specs]
    found = studied(tmp_path, records)
    assert set(found.values["seed"]) == set(found.acts["seed"]) == {"0/0", "1/0"}
    tables = {table.name: table for table in gate_tables(found)}
    terms = tables["variance"].rows
    assert "seed" in set(terms["term"]), "what differs between the runs is the seeds'"
    assert terms["low"].notna().all()
    assert "one of the initial values" in found.about


@pytest.mark.parametrize("by_example", [True, False])
def test_shuffling_over_examples_hurts_only_where_gates_depend_on_them(
    finished: tuple[Path, list[Record]], by_example: bool
) -> None:
    """Labels are what the model says with its planted gates, so that any harm shows in the loss."""
    from dataclasses import replace

    import torch

    from methods.kit.gates import SigmoidGate

    out, records = finished
    setting = trained_setting(out, records[0])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in setting.classifier.backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        for module in setting.classifier.backbone.modules():
            if isinstance(module, SigmoidGate):
                module.weight.normal_(std=3.0, generator=generator).mul_(by_example)
                module.bias.normal_(generator=generator).mul_(1 - by_example)
    said = setting.logits(setting.test).argmax(1)
    setting = replace(setting, test=replace(setting.test, labels=said))
    acts = GateStudy(setting, 200).intervention_frame(np.full(6, 0.5), {})
    loss = acts.groupby("intervention")["loss"].mean()
    harm = loss["shuffled over examples"] - loss["learned"]
    if by_example:
        assert harm > 0.01
    else:
        assert abs(harm) < 1e-6


def test_a_padding_confound_of_a_real_model_is_gone_under_the_masked_mean(
    finished: tuple[Path, list[Record]],
) -> None:
    """Gates that tell padding from text and nothing else: under the released code's mean they follow the length."""
    import torch

    from methods.kit.gates import SigmoidGate

    out, records = finished
    frames = []
    for record in records[:2]:
        setting = trained_setting(out, record)
        now: list[torch.Tensor] = []

        def see(module: object, args: object, kwargs: dict[str, torch.Tensor], now: list[torch.Tensor] = now) -> None:
            now[:] = [kwargs["attention_mask"]]

        def planted(
            module: SigmoidGate, args: tuple[torch.Tensor, torch.Tensor], _: object, now: list[torch.Tensor] = now
        ) -> torch.Tensor:
            scores = (0.2 + 0.6 * now[0].float()).unsqueeze(-1).expand(-1, -1, module.count)
            noise = 1e-4 * torch.randn(len(scores), module.count, generator=torch.Generator().manual_seed(0))
            return (args[1] @ scores).squeeze(1) + noise

        setting.classifier.backbone.register_forward_pre_hook(see, with_kwargs=True)
        for module in setting.classifier.backbone.modules():
            if isinstance(module, SigmoidGate):
                module.register_forward_hook(planted)
        frames.append(GateStudy(setting, 100).value_frame().assign(seed=str(record.asked.model_seed)))
    values = pd.concat(frames, ignore_index=True)
    spread = values.groupby("example")[["value", "value_padded"]].mean().std()
    assert spread["value"] < 1e-3 < 0.02 < spread["value_padded"]
    lengths = values.groupby("example")[["length", "value_padded"]].mean()
    assert lengths.corr().iloc[0, 1] > 0.99
    found = studied(out, records)
    table = variance(type(found)(**{**vars(found), "values": values}))
    assert table is not None
    shares = table.rows.set_index(["mean", "kind", "term"])["share"]
    assert shares["padded", "raw", "example"] > 0.95
    assert shares["padded", "length held", "length"] > 0.95


def test_bad_input_is_one_line(
    finished: tuple[Path, list[Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import shutil

    def said(folder: Path, *options: str) -> str:
        assert bench("gates", str(folder), *options, monkeypatch=monkeypatch) == 2
        lines: list[str] = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    out, records = finished
    (tmp_path / "empty").mkdir()
    assert "holds no records" in said(tmp_path / "empty")
    copy = tmp_path / "copy"
    shutil.copytree(out / "runs", copy / "runs")
    assert "--k 24,48: give one size" in said(copy, "--k", "24,48")
    assert "there are K=24 and seeds 0, 1" in said(copy, "--seed", "5")
    gates_path(copy, records[0].digest).write_bytes(b"PAR1 cut short")
    line = said(copy)
    assert f"{records[0].digest}.gates.parquet is damaged" in line
    assert f"delete {copy / 'runs' / records[0].digest}.json" in line
    shutil.copy(gates_path(out, records[0].digest), gates_path(copy, records[0].digest))
    weights_path(copy, records[0].digest).write_bytes(b"cut short")
    assert f"{records[0].digest}.safetensors is damaged" in said(copy)
    for path in copy.glob("runs/*.gates.parquet"):
        path.unlink()
    assert "holds no run of a gated method" in said(copy)


def test_planted_truth_stands_in_the_right_place(finished: tuple[Path, list[Record]]) -> None:
    """Values driven by length alone under padding: the confound shows raw and is gone with the length held."""
    out, records = finished
    found = studied(out, records)
    frame = found.values.copy()
    rng = np.random.default_rng(0)
    frame["value"] = rng.normal(scale=1e-4, size=len(frame)) + np.where(frame["part"] == "lora", 0.8, 0.2)
    frame["value_padded"] = frame["length"] / 100 + rng.normal(scale=1e-6, size=len(frame))
    table = variance(type(found)(**{**vars(found), "values": frame}))
    assert table is not None
    shares = table.rows.set_index(["mean", "kind", "term"])["share"]
    assert shares["masked", "raw", "part"] > 0.95
    assert shares["padded", "raw", "example"] > 0.95
    assert shares["padded", "length held", "length"] > 0.95
    assert abs(shares["padded", "length held", "example"]) < 0.05


def test_one_seed_gets_no_verdict(finished: tuple[Path, list[Record]]) -> None:
    out, records = finished
    alone = [record for record in records if record.asked.model_seed == 0]
    found = {table.name: table for table in gate_tables(studied(out, alone))}
    assert set(found) >= {"variance", "value_and_effect", "correlations", "interventions", "retrained"}
    for name in set(found) - {"means"}:  # its low and high are extremes
        rows = found[name].rows
        for column in {"low", "high", "loss_low", "loss_high", "p_adjusted"} & set(rows):
            assert rows[column].isna().all(), (name, column)
        assert "One seed" in found[name].says
