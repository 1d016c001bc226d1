"""Gates: closed ones leave the backbone, values are what the equations say, padding has no say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from bench.parts.gates import gate_sites, skipping
from methods.adapter import Bottleneck
from methods.kit.base import freeze
from methods.kit.gates import Gate, HardConcreteGate, SigmoidGate
from methods.kit.sites import layers
from methods.prefix import Prefix, layer_prefix
from methods.unipelt import UniPELT
from tests.methods.test_contract import ARCHITECTURES


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
        if isinstance(module, Gate):
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
    if method.parts != "L":  # a fresh LoRA is the identity whatever its gate
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
    gates = SigmoidGate(2, 1)
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
        if isinstance(module, SigmoidGate):
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


@pytest.mark.parametrize("parts", ["A", "P", "L", "APL"])
@pytest.mark.parametrize("share_open", [0.0, 0.5, 1.0])
def test_skipping_equals_a_shut_gate(parts: str, share_open: float) -> None:
    """Work left out for closed gates gives what gates of exactly zero would (prefix: log gate)."""
    model = backbone()
    method = UniPELT(parts=parts, prefix_gate="log", length=3, r=2, bottleneck=4)
    method.adapt(model)
    for part in method.parts_of(model, {}):
        if part.kind == "lora":
            nn.init.normal_(part.parameters[1])
    open_rows = torch.arange(4) < round(4 * share_open)
    inputs = {name: value.repeat(2, 1)[:4] for name, value in batch().items()}
    for module in model.modules():
        if isinstance(module, Gate):
            module.register_forward_hook(lambda _, __, values: torch.where(open_rows[:, None], values, 0.01))
    with skipping(gate_sites(method.parts_of(model, {})), 0.1):
        skipped = output(model, inputs)
    for module in model.modules():
        if isinstance(module, Gate):
            module.register_forward_hook(lambda _, __, values: torch.where(values > 0.1, values, 0.0))
    torch.testing.assert_close(skipped, output(model, inputs), atol=1e-6, rtol=1e-6)


def layers_of(model: PreTrainedModel) -> int:
    return len(layers(model))


def test_closed_parts_cost_nothing() -> None:
    """A closed LoRA's, adapter's and prefix's products are really left out."""
    from torch.utils.flop_counter import FlopCounterMode

    def flops(model: PreTrainedModel) -> int:
        with FlopCounterMode(display=False) as counter:
            output(model, batch())
        return counter.get_total_flops()

    bare = flops(backbone())
    model = backbone()
    method = UniPELT(length=3, hidden=0, r=2, bottleneck=4)
    method.adapt(model)
    opened = flops(model)
    tokens, width, examples = 3 * 7, 16, 3
    gates = 3  # prefix and LoRA read the layer's input, the adapter its own
    by_hand = 2 * layers_of(model) * gates * (tokens * width + examples * 7)
    with skipping(gate_sites(method.parts_of(model, {})), 1.0):  # no sigmoid gate is above it
        closed = flops(model)
    assert closed - bare == by_hand
    assert opened - bare > by_hand


def test_hard_concrete_by_hand() -> None:
    gate = HardConcreteGate(1, 3).eval()
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.copy_(torch.tensor([-9.0, 0.0, 9.0]))
    values = gate(torch.zeros(1, 2, 1), torch.full((1, 1, 2), 0.5))
    assert torch.equal(values[0, [0, 2]], torch.tensor([0.0, 1.0]))
    assert float(values[0, 1].detach()) == pytest.approx(0.5)
    probability = gate.active_probability()
    assert probability is not None
    assert float(probability[0, 1].detach()) == pytest.approx(1 / (1 + (0.1 / 1.1) ** (2 / 3)))


def test_hard_concrete_samples_zeros_and_ones_in_training() -> None:
    torch.manual_seed(0)
    values = HardConcreteGate(1, 1).train()(torch.zeros(500, 2, 1), torch.full((1, 1, 2), 0.5))
    assert 0.1 < float((values == 0).float().mean()) < 0.25  # P(0) = 1 - 0.832 at log alpha = 0
    assert float((values == 1).float().mean()) > 0.1


def test_the_penalty_is_the_expected_active_share() -> None:
    method = UniPELT(gate="hard", prefix_gate="log", sparsity=2.0, hidden=8)
    model = backbone().train()
    method.adapt(model)
    for module in model.modules():
        if isinstance(module, HardConcreteGate):
            module.weight.data.zero_()
            module.bias.data.fill_(9.0)
    model(**batch())
    penalty = method.penalty(model)
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(2.0, rel=1e-3)


def test_a_gated_adapter_keeps_the_precision_of_what_it_adds_to() -> None:
    """Under autocast the products are bf16, the sum with the residual is not; a closed gate changes no bit."""
    torch.manual_seed(0)
    adapter = Bottleneck(16, 4, activation="relu", std=0.02)
    torch.nn.init.normal_(adapter.up_bias)
    hidden, base = torch.randn(3, 5, 16), torch.randn(3, 5, 16)
    adapter.gate = lambda: torch.tensor([0.0, 0.5, 1.0])  # type: ignore[assignment] # all that it needs of a reader
    with torch.autocast("cpu", torch.bfloat16):
        output = adapter(hidden, base)
    assert output.dtype == base.dtype
    assert torch.equal(output[0], base[0])
    torch.testing.assert_close(output, adapter(hidden, base), atol=0.02, rtol=0.02)
