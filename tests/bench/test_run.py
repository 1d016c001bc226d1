from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import UserError
from bench.records.spec import Measures, Protocol
from bench.records.store import Result
from bench.run import execute
from bench.training.loop import DivergedError
from bench.training.prepared import prepare, prepare_torch
from tests.conftest import MakeSpec

SCORES = Measures(costs=False, energy=False, effective=False)


def result(outcome: object) -> Result:
    found = outcome.record.result  # type: ignore[attr-defined]
    assert isinstance(found, Result)
    return found


OBSERVED = ("_per_s", "_joules", "_kg", "resident_peak_bytes")
"""Endings of the figures that may differ from one run to the next."""


def same(first: Result, second: Result) -> bool:
    """Whether all but what was observed of time, energy and resident memory is equal."""
    left, right = (
        found.model_dump(exclude={"train_time_s": True, "infer_time_s": True, "costs": {"notes": {"energy_detail"}}})
        for found in (first, second)
    )
    for found in (left, right):
        figures = found["costs"]["figures"]
        found["costs"]["figures"] = {key: value for key, value in figures.items() if not key.endswith(OBSERVED)}
    return bool(left == right)


@pytest.mark.parametrize("method", ["head", "full", "bitfit", "adapter", "prefix", "lora", "unipelt"])
def test_the_same_seed_gives_bit_equal_scores_twice(method: str, make_spec: MakeSpec) -> None:
    first, second = (execute(make_spec(method), measures=Measures(energy=False)) for _ in range(2))
    assert np.array_equal(first.outputs["logits"], second.outputs["logits"])
    assert same(result(first), result(second))


def test_different_seeds_differ(make_spec: MakeSpec) -> None:
    base = make_spec("lora")
    first = execute(base, measures=SCORES)
    model = execute(base.model_copy(update={"model_seed": 1}), measures=SCORES)
    data = execute(base.model_copy(update={"data_seed": 1}), measures=SCORES)
    assert result(first).data_digest == result(model).data_digest != result(data).data_digest
    assert not np.array_equal(first.outputs["logits"], model.outputs["logits"])
    assert not np.array_equal(first.outputs["logits"], data.outputs["logits"])
    assert np.array_equal(first.outputs["labels"], data.outputs["labels"])


def test_every_method_starts_with_the_same_head_and_rows(make_spec: MakeSpec) -> None:
    settings = [prepare(make_spec(method)) for method in ("head", "full", "prefix", "unipelt")]
    heads = [setting.classifier.head_parameters() for setting in settings]
    for head in heads:
        assert all(torch.equal(value, heads[0][name]) for name, value in head.items())
        assert all(value.requires_grad for value in head.values())
    assert len({setting.examples.digest for setting in settings}) == 1
    assert len({setting.pretrained_parameters for setting in settings}) == 1


def test_what_a_run_reports(make_spec: MakeSpec) -> None:
    outcome = execute(make_spec("prefix", epochs=3))
    record, found = outcome.record, result(outcome)
    assert record.status == "ok"
    assert record.digest == record.asked.digest
    assert record.environment["threads"] == 1
    assert record.environment["versions"]["torch"] == torch.__version__
    assert (found.train_examples, found.dev_examples, found.test_examples) == (24, 16, 300)
    assert (found.steps, len(found.curve)) == (9, 3)
    assert found.classes == ["garden", "kitchen", "workshop"]
    assert found.headline == "accuracy"
    logits, labels = outcome.outputs["logits"], outcome.outputs["labels"]
    assert logits.shape == (300, 3)
    assert found.test_scores["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert found.best_epoch is not None
    assert found.dev_scores == found.curve[found.best_epoch - 1].scores
    assert found.train_time_s is not None
    assert found.infer_time_s is not None
    # 10 positions x 2 (keys, values) x 2 layers x 32 stay; embedding and network of width 512 train
    assert found.stored_parameters == 10 * 2 * 2 * 32
    assert found.trained_parameters == 10 * 32 + (32 * 512 + 512) + (512 * 128 + 128)
    assert found.head_parameters == 3 * 32 + 3
    assert found.backbone_parameters == 73_184
    assert (found.learning_rate, found.head_learning_rate) == (1e-3, 0.05)


def test_nothing_trained_has_no_training_time(make_spec: MakeSpec) -> None:
    found = result(execute(make_spec("majority"), measures=SCORES))
    assert found.train_time_s is None
    assert found.dev_scores is None
    assert (found.steps, found.trained_parameters, found.stored_parameters, found.head_parameters) == (
        0,
        0,
        0,
        0,
    )


def test_the_task_is_learned(make_spec: MakeSpec) -> None:
    """A harness in which a frozen-backbone method stays near the majority is wrong."""
    floor = result(execute(make_spec("majority"), measures=SCORES)).test_scores["accuracy"]
    for method in ("head", "adapter"):
        trained = result(execute(make_spec(method, k=96, epochs=10), measures=SCORES))
        assert trained.test_scores["accuracy"] > floor + 0.2
        assert trained.curve[-1].train_loss < trained.curve[0].train_loss


def test_a_task_may_name_its_scores(make_spec: MakeSpec, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import replace\nfrom tasks import SYNTHETIC\n"
        "MINE = replace(SYNTHETIC, name='mine', scores=('macro_f1',), headline='macro_f1')\n"
    )
    found = result(execute(make_spec(task=f"{path}:MINE"), measures=Measures(costs=False, energy=False)))
    assert set(found.test_scores) == {"macro_f1"}
    assert set(found.curve[0].scores) == {"macro_f1"}


def test_a_rate_far_too_high_is_a_clear_error(make_spec: MakeSpec) -> None:
    with pytest.raises(DivergedError, match="lower the learning rate"):
        execute(make_spec("full[learning_rate=1e38]", head_learning_rate=1e38, warmup_share=0), measures=SCORES)


def test_changed_weights_are_refused(make_spec: MakeSpec) -> None:
    spec = make_spec()
    changed = spec.model_copy(update={"model": spec.model.model_copy(update={"revision": "seed 7"})})
    with pytest.raises(UserError, match="model tiny is seed 0 now, not seed 7"):
        prepare(changed)


def test_no_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        prepare_torch(Protocol(device="cuda"))
    with pytest.raises(UserError, match="bf16 needs a CUDA device"):
        prepare_torch(Protocol(precision="bf16"))
    assert prepare_torch(Protocol(threads=1)).type == "cpu"
    assert torch.are_deterministic_algorithms_enabled()
