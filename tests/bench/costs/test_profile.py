from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.costs import profile as module
from bench.costs.profile import BARE, WHOLE, profile
from bench.grid.worker import make_profile
from bench.records.record import Profile
from bench.records.spec import MethodSpec, ProfileJob, ProfileShape, Protocol
from bench.records.store import read_profiles
from bench.registry.methods import resolve_method
from bench.tasks.kinds.classes import Classes
from tests.conftest import bench

SHAPE = ProfileShape(model="tiny", batch=2, tokens=8, rounds=3)
PROTOCOL = Protocol(threads=1, device="cpu")
CONTROL = "the training step of full over itself"


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
    assert clipped == ([norm] * 3 if norm else []), "full is its own control, too"


def test_full_is_the_reference_where_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fake_times(
        monkeypatch, lambda name: {"full": 4.0, CONTROL: 4.0, "lora": 3.0, "infer lora": 0.5}.get(name, 2.0)
    )
    found = made("lora", "full", "majority")
    assert found.train_reference == "full"
    assert list(seen[0]) == ["lora", "full", CONTROL], "the whole backbone is not trained twice"
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
    seen = fake_times(monkeypatch, lambda name: 5.0 if WHOLE in name else 1.0)
    found = made("bitfit", "head")
    assert found.train_reference == WHOLE, "a method that thaws some weights is not the whole"
    assert WHOLE in seen[0]
    assert set(found.rows) == {"bitfit", "head"}, "the reference is no method of the comparison"
    assert {row.train_step.ratio for row in found.rows.values() if row.train_step} == {0.2}


def test_inference_is_timed_as_deployed_unmerged_merged_and_for_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fake_times(monkeypatch, lambda name: 1.0)
    made("lora", "prefix", "unipelt")
    batched, single = seen[1], seen[2]
    assert set(single) == {
        BARE,
        f"the pass of {BARE} at batch 1 over itself",
        "infer_single lora",
        "infer_single prefix",
        "infer_single unipelt",
    }
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
    real = Classes.loss

    def loss_of(kind: Classes, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = real(kind, logits, labels)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(Classes, "loss", loss_of)
    made("full[learning_rate=0.001]")
    step, control = seen[0].values()
    assert step is control
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
    options += ["--allocator", "system"]  # the other lasts as long as this process
    code = bench("profile", "head", *options, "--json", "--out", str(tmp_path / "command"), monkeypatch=monkeypatch)
    assert code == 0
    (written,) = read_profiles(tmp_path / "command").values()
    assert Profile.model_validate(json.loads(capsys.readouterr().out)) == written
    job = ProfileJob(methods=tuple(specs("head")), shape=SHAPE, protocol=PROTOCOL, allocator="system")
    make_profile(job, tmp_path / "child")
    (child,) = read_profiles(tmp_path / "child").values()
    assert set(child.rows) == set(written.rows) == {"head"}
    assert (child.model, child.batch, child.tokens, child.rounds) == ("tiny", 2, 8, 3)


def test_the_table_flags_what_is_wide(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    fake_times(monkeypatch, lambda name: 1.0)
    options = ["--model", "tiny", "--batch", "2", "--tokens", "8", "--rounds", "3", "--threads", "1"]
    options += ["--allocator", "system"]  # the other lasts as long as this process
    assert bench("profile", "majority", *options, monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "1.000 [1.000, 1.000] !" in out
    assert "1,000.0 / 1,000.0" in out


BROKEN = """
from dataclasses import dataclass
from typing import ClassVar
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Broken(Method):
    name: ClassVar[str] = "broken"
    where: str = "adapt"
    thaws: ClassVar[bool] = True

    def _break(self, where):
        if self.where == where:
            raise RuntimeError(f"no {where} today")

    def adapt(self, model):
        model.requires_grad_(True)
        self._break("adapt")

    def penalty(self, model):
        self._break("step")

    def merge(self, model):
        self._break("merge")
"""


@pytest.mark.parametrize(
    ("where", "lost"),
    [
        ("adapt", {"train_step", "infer", "infer_merged", "infer_single"}),
        ("step", {"train_step"}),
        ("merge", {"infer_merged"}),
    ],
)
def test_a_method_that_raises_costs_its_own_figures(tmp_path: Path, where: str, lost: set[str]) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN)
    found = made(f"{path}:Broken[where={where}]", "lora")
    label = next(name for name in found.rows if name != "lora")
    row = found.rows[label]
    assert row.absent == dict.fromkeys(lost, f"RuntimeError: no {where} today")
    for figure in ("train_step", "infer", "infer_merged", "infer_single"):
        assert (getattr(row, figure) is None) == (figure in lost)
        assert getattr(found.rows["lora"], figure) is not None, "the others keep theirs"


@pytest.mark.parametrize(("beside", "suspect"), [(1.0, False), (1.019, False), (1.05, True), (0.95, True)])
def test_a_control_that_is_off_makes_a_profile_suspect_and_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, beside: float, suspect: bool
) -> None:
    seen = fake_times(monkeypatch, lambda name: beside if name == "infer full" else 1.0)
    found = made("full", "prefix")
    assert "inference of full over the bare model" in found.controls
    assert not any("prefix" in name for name in found.controls), "a prefix is not the bare model"
    assert len(seen) == (6 if suspect else 3)
    assert (found.suspect is not None) == (found.repeated is not None) == suspect
    if found.suspect is not None:
        assert found.suspect.startswith("inference of full over the bare model is 1 by construction and came out as ")


def test_a_process_that_was_disturbed_once_is_mended_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [1.5]
    fake_times(monkeypatch, lambda name: left.pop() if name == CONTROL and left else 1.0)
    found = made("full")
    assert found.suspect is None
    assert found.repeated is not None
    assert found.repeated.startswith(CONTROL)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft's
def test_frozen_weights_are_shared_under_whatever_name() -> None:
    bench = module.StepTimer(module.fetch_model("tiny"), SHAPE, PROTOCOL, torch.device("cpu"))
    shared = {p.data_ptr() for p in bench.bare.parameters()}
    before = {name: p.clone() for name, p in bench.bare.named_parameters()}
    for name in ("lora", "peft:lora[r=2]", "peft:ia3"):
        method = module.method_of(resolve_method(name).spec)
        adapted = bench._adapted(method)
        frozen = [p for p in adapted.parameters() if not p.requires_grad]
        assert all(p.data_ptr() in shared for p in frozen), name
        assert not any(p.data_ptr() in shared for p in adapted.parameters() if p.requires_grad)
        merged = bench._deployed(method)
        assert method.merge(merged.backbone) is None
    for name, parameter in bench.bare.named_parameters():
        assert torch.equal(parameter, before[name]), "a merge writes into weights of its own"


def test_the_key_holds_all_that_times_depend_on() -> None:
    found = made("lora")
    assert found.setting is not None
    assert found.holds(found.setting, found.methods)
    fewer = found.setting.model_copy(update={"rounds": 2})
    assert found.holds(fewer, found.methods), "more rounds than asked for will do"
    for name, value in found.setting.model_dump().items():
        changed = 0.5 if name == "max_gradient_norm" else value + 1 if isinstance(value, int) else "another"
        other = found.setting.model_copy(update={name: changed})
        assert not found.holds(other, found.methods), name
        assert found.model_copy(update={"setting": other}).digest != found.digest
    rate, rank = (resolve_method(text).spec for text in ("lora[learning_rate=0.5]", "lora[r=3]"))
    assert found.holds(found.setting, {"lora": rate}), "no time depends on a learning rate"
    assert not found.holds(found.setting, {"lora": rank.model_copy(update={"label": "lora"})})
    assert not found.model_copy(update={"suspect": "x"}).holds(found.setting, found.methods)
