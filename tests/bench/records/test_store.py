from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from bench.errors import UserError
from bench.records import store
from bench.records.spec import Measures, RunSpec
from bench.records.store import (
    SCHEMA,
    Costs,
    Effective,
    Profile,
    ProfileRow,
    Record,
    RecordFolder,
    Result,
    Stored,
    Timing,
    claimed,
    gates_path,
    load_outputs,
    profile_path,
    read_profiles,
    read_record,
    read_records,
    record_path,
    weights_path,
    write_profile,
    write_record,
)  # fmt: skip
from reports.frame.frame import frame
from tests.conftest import MakeSpec

OLD = sorted((Path(__file__).resolve().parents[2] / "records").glob("*.json"))


def record(spec: RunSpec, **changes: object) -> Record:
    result = Result(
        kind="classes",
        headline="accuracy",
        test_scores={"accuracy": 0.75},
        trained_parameters=10,
        stored_parameters=5,
        head_parameters=3,
        backbone_parameters=100,
        train_examples=24,
        dev_examples=16,
        test_examples=300,
        train_time_s=1.5,
        head_kind="mean",
        learning_rate=1e-3,
        head_learning_rate=5e-3,
        data_digest="0",
    )
    values = {
        "digest": spec.digest,
        "status": "ok",
        "asked": spec,
        "result": result,
        "environment": {"python": "3.11"},
        "started_at": "2026-01-01T00:00:00+00:00",
        "wall_time_s": 2.0,
    }
    return Record.model_validate({**values, **changes})


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_old_records_load(path: Path) -> None:
    found = read_record(path)
    assert found.status == "ok"
    assert found.digest == path.stem.split("-")[-1]
    assert found.result is not None
    assert found.result.test_scores[found.result.headline] > 0


def test_the_digest_of_an_old_record_is_still_that_of_what_it_asked() -> None:
    """Else every finished run would be done again after an update."""
    assert OLD
    for path in OLD:
        found = read_record(path)
        assert found.asked.digest == found.digest


def test_a_record_comes_back_as_written(tmp_path: Path, make_spec: MakeSpec) -> None:
    written = record(make_spec())
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write_record(tmp_path, written, outputs={"logits": logits})
    assert read_record(path) == written
    assert np.array_equal(load_outputs(tmp_path, written.digest)["logits"], logits)
    assert read_records(tmp_path) == [written]
    assert RecordFolder(tmp_path).finished() == {written.digest}
    assert sorted(file.name for file in path.parent.iterdir()) == [
        f"{written.digest}.json",
        f"{written.digest}.npz",
    ]


def test_gates_and_weights_come_back_as_written(tmp_path: Path, make_spec: MakeSpec) -> None:
    written = record(make_spec())
    gates = pd.DataFrame({"value": np.float32([0.25, 0.5]), "layer": [0, 1], "part": ["lora", "prefix"]})
    transposed = torch.arange(6.0).reshape(2, 3).t()  # safetensors takes no tensor that is not contiguous
    path = write_record(tmp_path, written, gates=gates, weights={"a": transposed, "b": torch.ones(1)})
    pd.testing.assert_frame_equal(pd.read_parquet(gates_path(tmp_path, written.digest)), gates)
    weights = load_file(weights_path(tmp_path, written.digest))
    assert set(weights) == {"a", "b"}
    assert torch.equal(weights["a"], transposed)
    assert read_records(tmp_path) == [written]
    names = [f"{written.digest}{suffix}" for suffix in (".gates.parquet", ".json", ".safetensors")]
    assert sorted(file.name for file in path.parent.iterdir()) == names


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, next(iter(kind.model_fields))) for kind in Stored.__subclasses__()],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_misspelt_figure_is_no_figure(kind: type[Stored], field: str) -> None:
    with pytest.raises(ValidationError, match=rf"{field}z\n  Extra inputs are not permitted"):
        kind(**{f"{field}z": 1})


def test_a_misspelt_figure_raises_in_a_copy_too(make_spec: MakeSpec) -> None:
    with pytest.raises(ValueError, match="Costs has no field train_flopz"):
        Costs().model_copy(update={"train_flopz": 2})
    whole = record(make_spec())
    assert whole.model_copy(update={"reason": "x"}).reason == "x"
    with pytest.raises(ValidationError, match="costs\n.*no meter declares train_flopz"):
        Record.model_validate(
            {**whole.model_dump(), "result": {**whole.model_dump()["result"], "costs": {"figures": {"train_flopz": 1}}}}
        )


def test_what_another_version_measured_is_left_out(tmp_path: Path, make_spec: MakeSpec) -> None:
    """At every depth of a record, and of a profile."""
    written = record(make_spec())
    path = write_record(tmp_path, written)
    data = json.loads(path.read_text())
    data["new"] = data["result"]["new"] = 1
    data["result"]["costs"] = {"figures": {"stored_bytes": 7, "new_bytes": 1}, "later": 1}
    data["result"]["curve"] = [{"epoch": 1, "step": 2, "train_loss": 0.5, "scores": {}, "new": 1}]
    path.write_text(json.dumps(data))
    found = read_record(path)
    assert found.result is not None
    assert found.result.costs.figures == {"stored_bytes": 7, "new_bytes": 1}
    assert found.result.curve[0].step == 2
    made = profile("tiny", head=ProfileRow())
    path = write_profile(tmp_path, made)
    data = json.loads(path.read_text())
    data["new"] = data["rows"]["head"]["new"] = 1
    path.write_text(json.dumps(data))
    assert read_profiles(tmp_path) == {path: made}


def with_effective(made: Record, **figures: object) -> Record:
    assert made.result is not None
    effective = Effective.model_validate({"parts": 8, "part_parameters": 900, **figures})
    return made.model_copy(update={"result": made.result.model_copy(update={"effective": effective})})


VERIFIED = {"verified_parameters": 300, "verified_parts": ["lora"], "verified_epsilon": 0.01}
TESTED = {"verified_rows": 1000, "verified_on": "spare", "verified_bound": -0.005}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [({}, "chosen and tested on the same rows, by an earlier version"), ({"verified_rows": 1000}, "does not hold")],
)
def test_a_verified_count_of_an_earlier_rule_is_absent_and_measured_again(
    rows: dict[str, int], reason: str, tmp_path: Path, make_spec: MakeSpec
) -> None:
    old = with_effective(record(make_spec()), **VERIFIED, verified_test_change=-0.03, **rows)
    found = read_record(write_record(tmp_path, old))
    table = frame([found])
    assert table.get("verified_parameters") is None or table["verified_parameters"].isna().all()
    assert reason in table["absent"].iloc[0]["verified_parameters"]
    assert found.result is not None
    assert found.result.effective is not None
    assert found.result.effective.verified_test_change is None
    asked = Measures(costs=False, weights="none")
    assert RecordFolder(tmp_path).finished(asked) == set()
    assert RecordFolder(tmp_path).finished(asked.model_copy(update={"effective": False})) == {old.digest}


@pytest.mark.parametrize(
    "figures",
    [
        VERIFIED | TESTED,
        {"parts": 0, "verified_parameters": 10},
        {"absent": {"verified_parameters": "100 rows are free to verify on"}, "verified_epsilon": 0.01},
    ],
    ids=["tested", "no parts", "absent"],
)
def test_a_verified_count_of_the_rule_in_use_stays(
    figures: dict[str, object], tmp_path: Path, make_spec: MakeSpec
) -> None:
    made = with_effective(record(make_spec()), **figures)
    assert read_record(write_record(tmp_path, made)) == made
    assert RecordFolder(tmp_path).finished(Measures(costs=False, weights="none")) == {made.digest}
    other = Measures(costs=False, weights="none", epsilon=0.05)
    assert RecordFolder(tmp_path).finished(other) == (set() if "verified_epsilon" in figures else {made.digest})


def test_a_run_that_died_while_it_was_measured_keeps_its_scores_and_is_done_again(
    tmp_path: Path, make_spec: MakeSpec
) -> None:
    written = record(make_spec(), complete=False)
    scored = written.model_copy(update={"result": written.result.model_copy(update={"costs": Costs()})})
    write_record(tmp_path, scored)
    nothing = Measures(costs=False, effective=False, weights="none")
    assert RecordFolder(tmp_path).finished() == RecordFolder(tmp_path).finished(nothing) == {scored.digest}
    assert RecordFolder(tmp_path).finished(nothing.model_copy(update={"costs": True})) == set()


def profile(model: str, **rows: ProfileRow) -> Profile:
    return Profile(
        model=model, batch=4, tokens=32, rounds=12, train_reference="full", infer_reference="the bare model",
        threads=1, device="cpu", environment={"python": "3.11"}, rows=rows,
    )  # fmt: skip


def test_a_profile_of_the_old_form_comes_back_as_written_and_replaces_the_old_one(tmp_path: Path) -> None:
    assert read_profiles(tmp_path) == {}
    timing = Timing(ratio=0.7, low=0.6, high=0.8, p50_ms=5.0, p95_ms=6.0, rounds=12, wide=True)
    row = ProfileRow(infer=timing)
    write_profile(tmp_path, profile("owner/name", full=row))
    written = profile("owner/name", head=row)
    path = write_profile(tmp_path, written)
    assert path == profile_path(tmp_path, written) == tmp_path / "profiles" / "owner-name.json"
    other = profile("a b/../c")
    write_profile(tmp_path, other)
    assert list(read_profiles(tmp_path).values()) == [other, written]
    assert [file.suffix for file in path.parent.iterdir()] == [".json", ".json"]
    assert set(json.loads(path.read_text())["rows"]["head"]) == {"infer", "absent"}, (
        "an absent figure is absent in the file"
    )


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_a_damaged_profile_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = write_profile(tmp_path, profile("tiny"))
    path.write_text(text)
    with pytest.raises(UserError, match=rf"{path} is damaged .*; delete it and run the same command again"):
        read_profiles(tmp_path)


def test_an_absent_figure_is_absent_in_the_file(tmp_path: Path, make_spec: MakeSpec) -> None:
    data = json.loads(write_record(tmp_path, record(make_spec())).read_text())
    assert "infer_time_s" not in data["result"]
    assert None not in data["result"].values()
    assert "reason" not in data


def test_a_setting_of_none_is_no_default(tmp_path: Path, make_spec: MakeSpec) -> None:
    spec = make_spec(epochs=None, steps=5, head_learning_rate=None)
    found = read_record(write_record(tmp_path, record(spec)))
    assert found.asked == spec
    assert found.asked.digest == found.digest == spec.digest


def test_only_ok_counts_as_finished(tmp_path: Path, make_spec: MakeSpec) -> None:
    for seed, status in enumerate(("failed", "unsupported")):
        write_record(tmp_path, record(make_spec(seed=seed), status=status, result=None, reason="x"))
    assert RecordFolder(tmp_path).finished() == set()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_number": 1}', '{"schema_number": "1"}', "\x00"])
def test_a_damaged_record_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = record_path(tmp_path, "0" * 16)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=rf"{path}.*delete it and run the same command again") as caught:
        read_records(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_field_is_named(tmp_path: Path, make_spec: MakeSpec) -> None:
    path = write_record(tmp_path, record(make_spec()))
    data = json.loads(path.read_text())
    data["result"]["trained_parameters"] = "many"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="result.trained_parameters"):
        read_record(path)


def test_a_later_form_is_refused_and_an_earlier_one_upgraded(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_record(tmp_path, record(make_spec()))
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "schema_number": SCHEMA + 1}))
    with pytest.raises(UserError, match="a later tunebench"):
        read_record(path)
    old = {name: value for name, value in data.items() if name != "status"} | {"outcome": "ok"}
    path.write_text(json.dumps(old))
    monkeypatch.setattr(store, "SCHEMA", SCHEMA + 1)

    def renamed(data: dict[str, object]) -> dict[str, object]:
        return {**data, "status": data["outcome"]}

    monkeypatch.setitem(store.UPGRADES, SCHEMA, renamed)
    assert read_record(path).status == "ok"


def test_a_failed_write_leaves_the_old_record(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = record(make_spec())
    path = write_record(tmp_path, first)

    def full_disk(self: Path, *args: object) -> int:
        with self.open("w") as stream:
            stream.write("half")
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(Path, "write_text", full_disk)
        write_record(tmp_path, record(make_spec(), wall_time_s=9.0))
    assert read_record(path) == first
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no records"):
        read_records(tmp_path)


def _hold(out: str, held: object, done: object) -> None:
    with claimed(Path(out)):
        held.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), held, done))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(UserError, match="held by another run"), claimed(tmp_path):
            pass
    finally:
        done.set()
        other.join()
    with claimed(tmp_path):
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="cannot be written"), claimed(file / "out"):
        pass


def test_claiming_clears_what_was_left_half_written(tmp_path: Path) -> None:
    leftover = tmp_path / "runs" / ".0123.json.99.tmp"
    leftover.parent.mkdir()
    leftover.write_text("{")
    with claimed(tmp_path):
        assert not leftover.exists()
