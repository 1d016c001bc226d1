"""What has to be shipped: what was trained, and what else the method added or changed; held against what peft saves."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from bench.costs.inspect import DRAWN_AGAIN, inspect
from bench.meters.parameters import safetensors_bytes
from bench.parts.trained import trained_setting
from bench.records.spec import Measures
from bench.records.store import weights_path, write_record
from bench.registry.methods import resolve_method
from bench.run import execute
from bench.tasks import kind_named
from bench.training.classifier import Pooled
from bench.training.prepared import adapt, count_stored, stored_tensors
from methods.kit.base import Method
from methods.lora import LoRA
from tests.conftest import MakeSpec

pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # shira's

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def bert(**settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model("bert", vocab_size=50, max_position_embeddings=40, **SIZES, **settings)
    model: PreTrainedModel = AutoModel.from_config(config)
    return model


def adapted(method: Method, backbone: PreTrainedModel | None = None) -> Pooled:
    fresh = Pooled(backbone or bert(), outputs=2, pooling="mean", seed=0)
    classifier = adapt(fresh, method, kind=kind_named("classes"), labels=torch.zeros(2, dtype=torch.long), seed=0)
    assert isinstance(classifier, Pooled)
    return classifier


def own(classifier: Pooled) -> dict[str, Tensor]:
    """What is stored, without the head."""
    return {name: t for name, t in stored_tensors(classifier).items() if name not in classifier.head_parameters()}


@pytest.mark.parametrize(
    ("specification", "trained", "frozen"),
    [
        ("peft:vera", 24_576, 393_216),
        ("peft:vera[save_projection=false]", 24_576, 0),
        ("peft:randlora", 460_800, 614_400),
        ("peft:pvera", 30_720, 589_824),
        ("peft:ia3", 64_512, 0),
    ],
)
def test_counts_on_bert_base(specification: str, trained: int, frozen: int) -> None:
    pytest.importorskip("peft")
    method = resolve_method(specification)
    (row,) = inspect([method], "bert-base-shape", head=None, outputs=2, batch=1, tokens=8)
    assert (row.trained_parameters, row.stored_parameters) == (trained, trained + frozen)
    assert row.stored_bytes is not None
    assert row.stored_bytes > 4 * (trained + frozen)
    assert method.method.draws_again is ("false" in specification)
    assert (DRAWN_AGAIN in (row.note or "")) is ("false" in specification)


@pytest.mark.parametrize(
    "kind",
    [
        "lora", "ia3", "vera", "vera[save_projection=false]", "pvera", "randlora", "adamss", "delora", "shira[r=2]",
        "supertuning", "tinylora", "unilora", "fourierft[n_frequency=8]", "lily", "oft[oft_block_size=4]",
    ],
)  # fmt: skip
def test_what_is_stored_is_what_peft_saves(kind: str) -> None:
    peft = pytest.importorskip("peft")
    method = resolve_method(f"peft:{kind}").method
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = own(adapted(method))
        config = method.config()  # type: ignore[attr-defined]
        config.target_modules = config.target_modules or ["query", "value"]
        if kind == "ia3":
            config.target_modules, config.feedforward_modules = ["key", "value", "output.dense"], ["output.dense"]
        saved = peft.get_peft_model_state_dict(peft.get_peft_model(bert(), config))
    theirs = {tensor.data_ptr(): tensor for tensor in saved.values()}.values()  # shared tensors once
    assert sum(t.numel() for t in ours.values()) == sum(t.numel() for t in theirs)
    assert sorted(tuple(t.shape) for t in ours.values()) == sorted(tuple(t.shape) for t in theirs)


class Normed(nn.Module):
    """A trained layer with running statistics and with a frozen projection."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(16)
        self.projection = nn.Parameter(torch.randn(16, 16), requires_grad=False)
        self.register_buffer("scratch", torch.zeros(7), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + (self.norm(hidden.transpose(1, 2)).transpose(1, 2) @ self.projection)


@dataclass(frozen=True, kw_only=True)
class Norming(Method):
    name: ClassVar[str] = "norming"

    def adapt(self, model: PreTrainedModel) -> None:
        model.add_module("added", Normed())
        model.encoder.layer[-1].register_forward_hook(lambda _, __, output: model.get_submodule("added")(output))


def test_buffers_and_frozen_tensors_that_an_author_adds_are_stored() -> None:
    classifier = adapted(Norming())
    found = {name.removeprefix("backbone.added.") for name in own(classifier)}
    assert found == {
        "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "projection",
    }  # fmt: skip
    assert count_stored(classifier) == 4 * 16 + 1 + 16 * 16


def test_buffers_that_came_with_the_model_are_stored_once_they_changed() -> None:
    backbone = bert()
    backbone.register_buffer("seen", torch.zeros(3))
    classifier = adapted(LoRA(r=2), backbone)
    assert "backbone.seen" not in own(classifier)
    backbone.get_buffer("seen").add_(1)
    assert own(classifier)["backbone.seen"].tolist() == [1, 1, 1]
    assert count_stored(classifier) == 2 * 2 * 2 * (2 * 16) + 3


@pytest.mark.parametrize("method", ["peft:vera[r=4]", "peft:shira[r=2]", "majority"])
def test_the_file_holds_what_is_counted_and_restores_the_scored_model(
    method: str, make_spec: MakeSpec, tmp_path: Path
) -> None:
    if method.startswith("peft"):
        pytest.importorskip("peft")
    outcome = execute(make_spec(method), measures=Measures(energy=False, effective=False, costs=False, weights="all"))
    assert outcome.weights is not None
    write_record(tmp_path, outcome.record, outputs=outcome.outputs, weights=outcome.weights)
    assert weights_path(tmp_path, outcome.record.digest).stat().st_size == safetensors_bytes(outcome.weights)
    result = outcome.record.result
    assert result is not None
    head = 0 if method == "majority" else result.head_parameters
    size = sum(t.numel() for t in outcome.weights.values())
    assert size == (result.classes and len(result.classes) if method == "majority" else result.stored_parameters + head)
    setting = trained_setting(tmp_path, outcome.record)
    assert (setting.logits(setting.test).numpy() == outcome.outputs["logits"]).all()


def test_weights_of_an_earlier_version_without_the_frozen_buffers_still_load(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    outcome = execute(
        make_spec("peft:vera[r=4]"), measures=Measures(energy=False, effective=False, costs=False, weights="all")
    )
    assert outcome.weights is not None
    frozen = {name for name in outcome.weights if "vera_A" in name or "vera_B" in name}
    assert len(frozen) == 2, "shared by all layers, and kept once"
    old = {name: tensor for name, tensor in outcome.weights.items() if name not in frozen}
    write_record(tmp_path, outcome.record, weights=old)
    setting = trained_setting(tmp_path, outcome.record)
    assert (setting.logits(setting.test).numpy() == outcome.outputs["logits"]).all()


def test_a_seed_that_has_to_draw_again_is_stated_in_the_record(make_spec: MakeSpec) -> None:
    pytest.importorskip("peft")
    off = Measures(energy=False, effective=False, costs=False)
    for method, redrawn in (("peft:vera[r=4]", False), ("peft:vera[r=4,save_projection=false]", True)):
        record = execute(make_spec(method), measures=off).record
        assert record.result is not None
        assert record.result.draws_again is redrawn
        assert record.asked.method.fields["save_projection"] is not redrawn
        assert (record.result.stored_parameters > record.result.trained_parameters) is not redrawn
