"""Every method on every architecture keeps the contract; every broken promise is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from bench.contract.contract import CHECKS, BrokenPromiseError
from bench.contract.workbench import Workbench
from bench.training.classifier import Pooled
from methods.adapter import Adapter
from methods.bitfit import BitFit
from methods.full import Full
from methods.head import Head
from methods.kit.base import Classifier, Method
from methods.lora import LoRA
from methods.majority import Majority
from methods.prefix import Prefix
from methods.unipelt import UniPELT

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": SHAPE,
    "roberta": SHAPE | {"type_vocab_size": 1, "pad_token_id": 1},
    "electra": SHAPE | {"embedding_size": 8},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
}
METHODS: list[Method] = [
    Majority(),
    Head(),
    Full(),
    BitFit(),
    Adapter(bottleneck=4),
    Adapter(reduction=4, placement="houlsby", activation="gelu"),
    Prefix(length=3, hidden=8),
    Prefix(length=3, hidden=0),
    LoRA(r=2),
    LoRA(r=2, targets="q+k+v+o+ffn", dropout=0.1),
    UniPELT(bottleneck=4, length=3, hidden=8, r=2),
    UniPELT(parts="AP", bottleneck=4, length=3, hidden=0),
    UniPELT(parts="L", r=2, lora_gates=2),
    UniPELT(bottleneck=4, length=3, hidden=8, r=2, prefix_gate="log", gate_mean="padded"),
    UniPELT(bottleneck=4, length=3, hidden=8, r=2, gate="none"),
    UniPELT(bottleneck=4, length=3, hidden=8, r=2, gate="constant"),
    UniPELT(bottleneck=4, length=3, hidden=8, r=2, gate="hard", prefix_gate="log", sparsity=0.1),
]


def workbench(method: Method, architecture: str = "bert") -> Workbench:
    config = AutoConfig.for_model(
        architecture, vocab_size=50, max_position_embeddings=40, **ARCHITECTURES[architecture]
    )

    def make() -> Classifier:
        torch.manual_seed(123)
        model = AutoModel.from_config(config, attn_implementation="sdpa")
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        return Pooled(model, outputs=3, pooling="mean", seed=5)

    return Workbench(method, make, vocabulary=50)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_method_keeps_the_contract(method: Method, architecture: str, check: Callable[[Workbench], None]) -> None:
    check(workbench(method, architecture))


@dataclass(frozen=True, kw_only=True)
class Thawing(Method):
    name: ClassVar[str] = "thawing"

    def adapt(self, model: PreTrainedModel) -> None:
        model.get_input_embeddings().weight.requires_grad_(True)


class Scale(nn.Module):
    """Multiplies its input; `unused` never reaches the output."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((16,), value))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * self.scale


def hook(model: PreTrainedModel, module: nn.Module) -> None:
    """Sends the last layer's output through `module`."""
    model.add_module("added", module)
    last = model.encoder.layer[-1]
    last.register_forward_hook(lambda _, __, output: module(output))


@dataclass(frozen=True, kw_only=True)
class Unused(Method):
    name: ClassVar[str] = "unused"

    def adapt(self, model: PreTrainedModel) -> None:
        model.add_module("added", Scale(1.0))


@dataclass(frozen=True, kw_only=True)
class NotIdentity(Method):
    name: ClassVar[str] = "not-identity"
    starts_as_identity: ClassVar[bool] = True

    def adapt(self, model: PreTrainedModel) -> None:
        hook(model, Scale(1.1))


class Noisy(Scale):
    state = 0

    def forward(self, hidden: Tensor) -> Tensor:
        Noisy.state += 1
        return super().forward(hidden) + 0.01 * Noisy.state * self.scale


@dataclass(frozen=True, kw_only=True)
class NotDeterministic(Method):
    name: ClassVar[str] = "not-deterministic"

    def adapt(self, model: PreTrainedModel) -> None:
        hook(model, Noisy(1.0))


class OverTokens(Scale):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.scale * hidden.mean(dim=1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class IgnoresMask(Method):
    name: ClassVar[str] = "ignores-mask"

    def adapt(self, model: PreTrainedModel) -> None:
        hook(model, OverTokens(1.0))


@dataclass(frozen=True, kw_only=True)
class BadEject(Method):
    name: ClassVar[str] = "bad-eject"

    def adapt(self, model: PreTrainedModel) -> None:
        hook(model, Scale(1.0))

    def eject(self, model: PreTrainedModel) -> None:
        model.get_submodule("added").scale.data.zero_()


@dataclass(frozen=True, kw_only=True)
class Overwrites(Method):
    name: ClassVar[str] = "overwrites"

    def adapt(self, model: PreTrainedModel) -> None:
        hook(model, Scale(1.0))
        model.get_input_embeddings().weight.data.mul_(1.01)


@pytest.mark.parametrize(
    ("method", "check", "says"),
    [
        (Thawing(), "only_its_parameters_move", "trains weights of the backbone"),
        (Overwrites(), "only_its_parameters_move", "changed pretrained weights"),
        (Unused(), "all_of_it_moves", "no gradient ever reached"),
        (NotIdentity(), "identity_where_promised", "starts_as_identity"),
        (NotDeterministic(), "same_seed_same_result", "same seed gave two different"),
        (IgnoresMask(), "padding_changes_nothing", "ignores the attention mask"),
        (BadEject(), "eject_keeps_logits", "eject() changed the logits"),
    ],
    ids=lambda value: value.name if isinstance(value, Method) else None,
)
def test_a_broken_promise_is_named(method: Method, check: str, says: str) -> None:
    by_name = {known.__name__: known for known in CHECKS}
    with pytest.raises(BrokenPromiseError, match=says.replace("(", r"\(").replace(")", r"\)")):
        by_name[check](workbench(method))
