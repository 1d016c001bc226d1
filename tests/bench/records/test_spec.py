from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from bench.records.spec import MethodSpec, ModelSpec, Protocol, RunSpec, TaskSpec


def run_spec(**changes: object) -> RunSpec:
    values = {
        "method": MethodSpec(name="m", label="m", source="built-in", fields={"learning_rate": 0.001}),
        "task": TaskSpec(name="t", label="t", source="built-in", revision="1"),
        "model": ModelSpec(name="tiny", revision="seed 0"),
        "k": 100,
        "data_seed": 1,
        "model_seed": 1,
        "protocol": Protocol(),
    }
    return RunSpec.model_validate({**values, **changes})


def test_the_digest_never_changes() -> None:
    """Records of all earlier versions are found by it: if this fails, every finished run is done again."""
    assert run_spec().digest == "e6385f637773007d"


@pytest.mark.parametrize(
    "change",
    [
        {"k": None},
        {"data_seed": 2},
        {"model_seed": 2},
        {"protocol": Protocol(batch_size=8)},
        {"model": ModelSpec(name="tiny", revision="seed 1")},
        {"task": TaskSpec(name="t", label="t", source="built-in", revision="2")},
        {"method": MethodSpec(name="m", label="m", source="sha256:0", fields={"learning_rate": 0.001})},
        {"method": MethodSpec(name="m", label="m", source="built-in", fields={"learning_rate": 0.002})},
    ],
    ids=str,
)
def test_the_digest_depends_on_what_is_asked(change: dict[str, object]) -> None:
    assert run_spec(**change).digest != run_spec().digest


def test_the_digest_ignores_names_for_tables_and_spelled_out_defaults() -> None:
    method = MethodSpec(name="m", label="another", source="built-in", fields={"learning_rate": 0.001})
    assert run_spec(method=method).digest == run_spec().digest
    assert run_spec(protocol=Protocol(weight_decay=0.0, epochs=10)).digest == run_spec().digest


def test_the_title_names_both_seeds_where_they_differ() -> None:
    assert run_spec().title == "m on t, K=100, seed 1"
    assert run_spec(model_seed=3, k=None).title == "m on t, K=all, seed 1/3"


def test_a_run_has_one_length() -> None:
    assert Protocol(epochs=None, steps=7).steps == 7
    for wrong in ({"steps": 7}, {"epochs": None}):
        with pytest.raises(ValidationError, match="one of epochs and steps"):
            Protocol.model_validate(wrong)


@pytest.mark.parametrize(("dev", "k", "rows"), [(1000, 100, 1000), ("k", 100, 100), ("k", None, 1000), (7, None, 7)])
def test_dev_rows(dev: int | str, k: int | None, rows: int) -> None:
    assert Protocol.model_validate({"dev": dev}).dev_rows(k) == rows


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"warmup_share": 1.5}, {"head": "max"}, {"batchsize": 3}, {"dev": -1}],
    ids=str,
)
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Protocol.model_validate(wrong)


@pytest.mark.parametrize("k", [None, 100])
def test_the_digest_is_that_of_the_whole_run_as_one_json_text(k: int | None) -> None:
    """Its pieces are made once for many runs, and put together by hand."""
    run = run_spec(k=k, model_seed=2**63 - 1, protocol=Protocol(batch_size=8, head_learning_rate=None))
    key = run.model_dump(mode="json", exclude_defaults=True)
    del key["method"]["label"], key["task"]["label"]
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    assert run.digest == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert run.seedless_digest == run.model_copy(update={"data_seed": 0, "model_seed": 0}).digest != run.digest


def test_a_copy_with_other_values_has_its_own_digest() -> None:
    run = run_spec()
    assert run.digest == run_spec().digest  # computed, and kept in the object
    assert run == run_spec()
    changed = run.protocol.model_copy(update={"batch_size": 8})
    assert run.model_copy(update={"protocol": changed}).digest == run_spec(protocol=Protocol(batch_size=8)).digest
