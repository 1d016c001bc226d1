"""Gates: closed ones leave the backbone, values are what the equations say, padding has no say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from methods.base import freeze
from methods.gates import Gates, SigmoidGates
from methods.prefix import Prefix, layer_prefix
from methods.sites import layers
from methods.unipelt import UniPELT
from tests.test_contract import ARCHITECTURES


def backbone(architecture: str = "bert") -> PreTrainedModel:
    config = AutoConfig.for_model(
        architecture, vocab_size=50, max_position_embeddings=40, **ARCHITECTURES[architecture]
    )
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation="sdpa").eval()
    freeze(model)
    return model


def batch(tokens: int = 7) -> dict[str, Tensor]:
    ids = torch.randint(5, 50, (3, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, tokens // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def output(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        hidden: Tensor = model(**inputs).last_hidden_state
    return hidden * inputs["attention_mask"].unsqueeze(-1)


def force(model: nn.Module, value: float) -> None:
    """Replaces the values of all gates."""
    for module in model.modules():
        if isinstance(module, Gates):
            module.register_forward_hook(lambda _, __, values: torch.full_like(values, value))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("method", "tolerance"),
    [(UniPELT(parts="A"), 0.0), (UniPELT(parts="L"), 0.0), (UniPELT(parts="AL"), 0.0),
     (UniPELT(parts="P", prefix_gate="log"), 1e-6), (UniPELT(prefix_gate="log"), 1e-6)],
    ids=str,
)  # fmt: skip
def test_closed_gates_leave_the_backbone(architecture: str, method: UniPELT, tolerance: float) -> None:
    model = backbone(architecture)
    bare = output(model, batch())
    method.adapt(model)
    open_gates = output(model, batch())
    force(model, 0.0)
    assert float((output(model, batch()) - bare).abs().max()) <= tolerance
    if "L" != method.parts:  # a fresh LoRA is the identity whatever its gate
        assert not torch.allclose(open_gates, bare, atol=1e-4)


def test_a_scaled_prefix_gate_at_zero_is_no_removal() -> None:
    """Footnote 3 of the paper: keys of zero keep exp(0) of the softmax's mass."""
    model = backbone()
    bare = output(model, batch())
    method = UniPELT(parts="P")
    method.adapt(model)
    force(model, 0.0)
    assert float((output(model, batch()) - bare).abs().max()) > 1e-3
    for part in method.parts_of(model, {}):
        part.remove()
    assert torch.equal(output(model, batch()), bare)


def test_open_gates_are_the_ungated_parts() -> None:
    gated, plain = backbone(), backbone()
    torch.manual_seed(3)
    UniPELT(parts="AP", gate="constant").adapt(gated)
    torch.manual_seed(3)
    UniPELT(parts="AP", gate="none").adapt(plain)
    force(gated, 1.0)
    torch.testing.assert_close(output(gated, batch()), output(plain, batch()), atol=1e-6, rtol=1e-6)


def test_gate_value_by_hand() -> None:
    gates = SigmoidGates(2, 1)
    with torch.no_grad():
        gates.weight.copy_(torch.tensor([[1.0, -1.0]]))
        gates.bias.fill_(0.5)
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    mean = torch.tensor([[[0.5, 0.5, 0.0]]])
    expected = (torch.tensor([1.5, -0.5]).sigmoid()).mean()
    torch.testing.assert_close(gates(hidden, mean), expected.view(1, 1))


def values(method: UniPELT, inputs: dict[str, Tensor]) -> Tensor:
    model = backbone()
    torch.manual_seed(5)
    method.adapt(model)
    for module in model.modules():
        if isinstance(module, SigmoidGates):
            module.weight.data.normal_(std=1.0)
    output(model, inputs)
    readers: list[Callable[[], Tensor]] = [p.gate for p in method.parts_of(model, {}) if p.gate is not None]
    return torch.stack([reader() for reader in readers])


@pytest.mark.parametrize(("gate_mean", "moves"), [("masked", False), ("padded", True)])
def test_only_the_released_codes_mean_depends_on_padding(gate_mean: str, moves: bool) -> None:
    method = UniPELT(gate_mean=gate_mean)  # type: ignore[arg-type]
    inputs = batch()
    padding = torch.full((3, 6), 1)
    padded = {
        "input_ids": torch.cat((inputs["input_ids"], padding), 1),
        "attention_mask": torch.cat((inputs["attention_mask"], 0 * padding), 1),
    }
    difference = float((values(method, inputs) - values(method, padded)).abs().max())
    assert (difference > 1e-3) == moves
    assert difference < 1e-6 or moves


def test_lora_gates_one_or_two() -> None:
    one, two = UniPELT(parts="L"), UniPELT(parts="L", lora_gates=2)
    query_one, value_one = values(one, batch())[:2]
    query_two, value_two = values(two, batch())[:2]
    assert torch.equal(query_one, value_one)
    assert not torch.allclose(query_two, value_two)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prefix_changes_the_output(architecture: str) -> None:
    model = backbone(architecture)
    bare = output(model, batch())
    Prefix(length=3, hidden=0).adapt(model)
    with torch.no_grad():
        for layer in layers(model):
            layer_prefix(layer).states.normal_()
    assert float((output(model, batch()) - bare).abs().max()) > 1e-2


@pytest.mark.parametrize("bad", [{"parts": ""}, {"parts": "AX"}, {"parts": "AA"}, {"gate": "soft"}])
def test_bad_values_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        UniPELT(**bad)  # type: ignore[arg-type]
