from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import loop
from bench import profile as module
from bench.config import MethodSpec, ProfileJob, ProfileShape, Protocol
from bench.profile import BARE, WHOLE, profile
from bench.record import Profile
from bench.registry import resolve_method
from bench.store import read_profiles
from bench.worker import profile_child
from tests.conftest import bench

SHAPE = ProfileShape(model="tiny", batch=2, tokens=8, rounds=3)
PROTOCOL = Protocol(threads=1, device="cpu")


def specs(*names: str) -> list[MethodSpec]:
    return [resolve_method(name).spec for name in names]


def made(*names: str) -> Profile:
    return profile(specs(*names), SHAPE, PROTOCOL)


def test_rows_of_all_methods() -> None:
    names = ("head", "bitfit", "lora", "adapter", "prefix", "unipelt", "majority")
    found = made(*names)
    assert tuple(found.rows) == names
    assert (found.model, found.batch, found.tokens, found.rounds) == ("tiny", 2, 8, 3)
    assert (found.threads, found.device) == (1, "cpu")
    assert found.environment["threads"] == 1
    assert (found.train_reference, found.infer_reference) == (WHOLE, BARE)
    for name, row in found.rows.items():
        assert (row.train_step is None) == (name == "majority"), "nothing to train"
        for timing in (row.train_step, row.infer, row.infer_merged, row.infer_single):
            if timing is None:
                assert name == "majority"
                continue
            assert 0 < timing.low <= timing.ratio <= timing.high
            assert 0 < timing.p50_ms <= timing.p95_ms
            assert timing.rounds == 3
            assert timing.wide, "three rounds are too few to rely on"


def fake_times(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[str], float]
) -> list[dict[str, Callable[[], object]]]:
    """Every call of a step takes what `seconds` says; gives the steps that were to be timed, each run once."""
    seen: list[dict[str, Callable[[], object]]] = []

    def interleave(steps: Mapping[str, Callable[[], object]], *, rounds: int, **_: Any) -> np.ndarray:
        seen.append(dict(steps))
        for step in steps.values():
            step()
        return np.tile([seconds(name) for name in steps], (rounds, 1))

    monkeypatch.setattr(module, "interleave", interleave)
    return seen


@pytest.mark.parametrize("norm", [None, 0.5])
def test_a_step_clips_its_gradient_where_the_protocol_does(monkeypatch: pytest.MonkeyPatch, norm: float | None) -> None:
    fake_times(monkeypatch, lambda name: 1.0)
    clipped: list[float] = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, limit: clipped.append(limit))
    profile(specs("full", "lora"), SHAPE, PROTOCOL.model_copy(update={"max_gradient_norm": norm}))
    assert clipped == ([norm] * 2 if norm else [])


def test_full_is_the_reference_where_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fake_times(monkeypatch, lambda name: {"full": 4.0, "lora": 3.0, "infer lora": 0.5}.get(name, 2.0))
    found = made("lora", "full", "majority")
    assert found.train_reference == "full"
    assert list(seen[0]) == ["lora", "full"], "the whole backbone is not trained twice"
    lora, full = found.rows["lora"], found.rows["full"]
    assert lora.train_step is not None
    assert full.train_step is not None
    assert (lora.train_step.ratio, full.train_step.ratio) == (0.75, 1.0)
    assert lora.infer is not None
    assert lora.infer_merged is not None
    assert lora.infer_single is not None
    assert (lora.infer.ratio, lora.infer_merged.ratio, lora.infer_single.ratio) == (0.25, 1.0, 1.0)
    assert lora.infer.p50_ms == 500.0


def test_else_the_whole_backbone_is_trained_for_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fake_times(monkeypatch, lambda name: 5.0 if name == WHOLE else 1.0)
    found = made("bitfit", "head")
    assert found.train_reference == WHOLE, "a method that thaws some weights is not the whole"
    assert WHOLE in seen[0]
    assert set(found.rows) == {"bitfit", "head"}, "the reference is no method of the comparison"
    assert {row.train_step.ratio for row in found.rows.values() if row.train_step} == {0.2}


def test_inference_is_timed_as_deployed_unmerged_merged_and_for_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fake_times(monkeypatch, lambda name: 1.0)
    made("lora", "prefix", "unipelt")
    batched, single = seen[1], seen[2]
    assert set(single) == {BARE, "infer_single lora", "infer_single prefix", "infer_single unipelt"}
    for steps, rows in ((batched, 2), (single, 1)):
        for step in steps.values():
            logits = step()
            assert isinstance(logits, torch.Tensor)
            assert logits.shape == (rows, 2)
            assert logits.is_inference()
    for method in ("lora", "prefix", "unipelt"):
        torch.testing.assert_close(batched[f"infer {method}"](), batched[f"infer_merged {method}"]())
    # A fresh LoRA is the identity, and so is its merged weight; a prefix is not.
    torch.testing.assert_close(batched["infer lora"](), batched[BARE]())
    assert not torch.equal(batched["infer prefix"](), batched[BARE]())  # type: ignore[arg-type]


def test_steps_really_train(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    seen = fake_times(monkeypatch, lambda name: 1.0)
    real = loop.loss_of

    def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = real(logits, labels)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(loop, "loss_of", loss_of)
    made("full[learning_rate=0.001]")
    (step,) = seen[0].values()
    for _ in range(20):
        step()
    assert losses[-1] < losses[0] / 2


def test_what_a_method_cannot_do_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom bench import Method\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Odd(Method):\n    name: ClassVar[str] = 'odd'\n"
        "    def adapt(self, model): raise AssertionError\n"
        "    def unsupported(self, config): return f'no {config.model_type}'\n"
    )
    assert list(made("head", f"{path}:Odd").rows) == ["head"]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft's
def test_what_cannot_be_merged_has_no_merged_figure_and_says_why() -> None:
    rows = made("head", "peft:lily[r=2]").rows
    assert rows["head"].infer_merged is not None
    assert rows["head"].unmerged is None
    row = rows["peft:lily[r=2]"]
    assert row.infer is not None
    assert row.infer_merged is None
    assert row.unmerged is not None
    assert row.unmerged.startswith("peft cannot merge encoder.layer.0.attention.self.query and ")


def test_the_command_and_the_child_write_the_same_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--model", "tiny", "--batch", "2", "--tokens", "8", "--rounds", "3", "--threads", "1"]
    code = bench("profile", "head", *options, "--json", "--out", str(tmp_path / "command"), monkeypatch=monkeypatch)
    assert code == 0
    (written,) = read_profiles(tmp_path / "command")
    assert Profile.model_validate(json.loads(capsys.readouterr().out)) == written
    job = ProfileJob(methods=tuple(specs("head")), shape=SHAPE, protocol=PROTOCOL)
    profile_child(job.model_dump_json(), str(tmp_path / "child"))
    (child,) = read_profiles(tmp_path / "child")
    assert set(child.rows) == set(written.rows) == {"head"}
    assert (child.model, child.batch, child.tokens, child.rounds) == ("tiny", 2, 8, 3)


def test_the_table_flags_what_is_wide(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    fake_times(monkeypatch, lambda name: 1.0)
    options = ["--model", "tiny", "--batch", "2", "--tokens", "8", "--rounds", "3", "--threads", "1"]
    assert bench("profile", "majority", *options, monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "1.000 [1.000, 1.000] !" in out
    assert "1000.0 / 1000.0" in out
