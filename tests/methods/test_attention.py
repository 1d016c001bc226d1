"""Attention with a prefix while training: torch's own is the oracle, dropout keeps its law."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel

from bench.contract.architectures import small_config
from methods.kit import attention
from methods.kit.attention import dropping
from methods.kit.base import Method
from methods.prefix import Prefix
from methods.unipelt import UniPELT
from tests.methods.test_unipelt import backbone, batch

NEARLY_NEVER = 1e-12
BATCH, HEADS, QUERIES, POSITIONS, WIDTH = 2, 3, 4, 6, 8


def states() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(BATCH, HEADS, count, WIDTH) for count in (QUERIES, POSITIONS, POSITIONS)]
    # Heads lie between tokens in memory, as projections leave them.
    found = [torch.randn(b, t, h, w, generator=generator) for b, h, t, w in shapes]
    query, key, value = (state.transpose(1, 2).requires_grad_(True) for state in found)
    return query, key, value


def padding() -> Tensor:
    mask = torch.ones(BATCH, 1, QUERIES, POSITIONS, dtype=torch.bool)
    mask[1, :, :, 4:] = False
    return mask


MASKS = {
    "none": None,
    "bool": padding(),
    "float": torch.zeros(1, 1, QUERIES, POSITIONS).masked_fill(torch.arange(POSITIONS) == 2, -torch.inf),
}


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("mask", MASKS)
def test_it_is_attention_where_nothing_is_dropped(mask: str, scaling: float | None) -> None:
    inputs = states()
    ours = dropping(*inputs, MASKS[mask], dropout=NEARLY_NEVER, scaling=scaling)
    theirs = functional.scaled_dot_product_attention(*inputs, attn_mask=MASKS[mask], scale=scaling).transpose(1, 2)
    assert ours.shape == (BATCH, QUERIES, HEADS, WIDTH)
    assert ours.is_contiguous()
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, weights), torch.autograd.grad(theirs, inputs, weights), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_weights_are_dropped_at_random_and_the_rest_scaled_up() -> None:
    torch.manual_seed(0)
    many, heads, positions = 100, 2, 50
    query, key = torch.zeros(many, heads, positions, 4), torch.zeros(many, heads, positions, 4)
    value = torch.eye(positions).expand(many, heads, -1, -1)  # the output is the weights
    weights = dropping(query, key, value, None, dropout=0.1)  # (many, positions, heads, positions)
    dropped = weights == 0
    assert weights[~dropped].unique() == pytest.approx(1 / positions / 0.9)
    count = dropped.numel()
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / count) ** 0.5)
    assert not (dropped[0] == dropped[1]).all(), "every example draws its own"
    assert not (dropped[:, :, 0] == dropped[:, :, 1]).all(), "and so does every head"


DROPOUT: dict[str, dict[str, Any]] = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": NEARLY_NEVER},
    "distilbert": {"dropout": 0.0, "attention_dropout": NEARLY_NEVER},
    "gpt2": {
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": NEARLY_NEVER,
        "scale_attn_by_inverse_layer_idx": True,
    },
}


@pytest.mark.parametrize("architecture", DROPOUT)
def test_a_model_trains_as_with_torchs_own_attention(monkeypatch: pytest.MonkeyPatch, architecture: str) -> None:
    """Padding, what comes later in a decoder, and the layer's own scaling are honoured while training."""
    config = small_config(architecture)
    config.update(DROPOUT[architecture])
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation="sdpa").train()
    Prefix(length=3, hidden=0).adapt(model)
    prefixes = [parameter for name, parameter in model.named_parameters() if name.endswith("prefix.states")]
    inputs = batch()
    weights = torch.randn(*inputs["input_ids"].shape, 1) * inputs["attention_mask"].unsqueeze(-1)
    calls = watch(monkeypatch)

    def trained() -> tuple[Tensor, ...]:
        hidden = model(**inputs).last_hidden_state * weights
        return hidden, *torch.autograd.grad(hidden.square().sum(), prefixes)

    ours = trained()
    assert calls == [NEARLY_NEVER] * len(prefixes)
    monkeypatch.setattr(attention, "_plain", lambda query, key: False)
    theirs = trained()
    assert len(calls) == len(prefixes), "the second time it was torch's"
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def watch(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The dropout of every call of `dropping` from now on."""
    calls: list[float] = []

    def watched(*args: Any, dropout: float, **kwargs: Any) -> Tensor:
        calls.append(dropout)
        return dropping(*args, dropout=dropout, **kwargs)

    monkeypatch.setattr(attention, "dropping", watched)
    return calls


def grouped_llama() -> PreTrainedModel:
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model("llama", vocab_size=50, num_key_value_heads=2, **shape)
    return AutoModel.from_config(config, attn_implementation="sdpa")


@pytest.mark.parametrize(
    ("architecture", "method", "training", "dropout", "used"),
    [
        ("bert", Prefix(length=3, hidden=0), True, 0.1, True),
        ("bert", UniPELT(length=3, hidden=8), True, 0.1, True),
        ("bert", Prefix(length=3, hidden=0), False, 0.1, False),
        ("bert", Prefix(length=3, hidden=0), True, 0.0, False),
        ("bert", UniPELT(length=3, hidden=8, prefix_gate="log"), True, 0.1, False),
        ("llama", Prefix(length=3, hidden=0), True, 0.1, False),  # fewer heads of keys than of queries
    ],
    ids=str,
)
def test_where_it_takes_sdpas_place(
    monkeypatch: pytest.MonkeyPatch, architecture: str, method: Method, training: bool, dropout: float, used: bool
) -> None:
    model = grouped_llama() if architecture == "llama" else backbone(architecture)
    for module in model.modules():
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, dropout)
            elif isinstance(getattr(module, name, None), torch.nn.Dropout):
                getattr(module, name).p = dropout
    method.adapt(model)
    model.train(training)
    calls = watch(monkeypatch)
    hidden = model(**batch()).last_hidden_state
    assert hidden.isfinite().all()
    assert calls == [dropout] * (model.config.num_hidden_layers if used else 0)
    hidden.sum().backward()
