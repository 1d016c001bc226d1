"""LoRA and the plain prefix agree with peft's, an independent implementation, on the same weights."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.peers import take_past_key_values
from methods.kit.base import freeze
from methods.kit.sites import layers
from methods.lora import LoRA
from methods.prefix import Prefix, layer_prefix

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft's

CONFIG = BertConfig(
    vocab_size=60,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=48,
    num_labels=3,
    initializer_range=0.3,  # large enough that an update shows in the logits
    attn_implementation="sdpa",
)
LENGTH = 5


def model() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(CONFIG).eval()


def batch() -> dict[str, Tensor]:
    ids = torch.randint(5, 60, (4, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 5:] = mask[3, 7:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def loss(logits: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 1]))


def test_lora_agrees_with_peft() -> None:
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], lora_dropout=0.0)
    theirs = peft.get_peft_model(model(), config).eval()
    ours = model()
    freeze(ours)
    LoRA(r=4, alpha=8).adapt(ours.bert)
    pairs = []
    for layer in layers(ours.bert):
        for site in ("query", "value"):
            module = layer.get(site)
            path = f"base_model.model.bert.encoder.layer.{layer.index}.attention.self.{site}"
            other = theirs.get_submodule(path)
            down, up = other.lora_A["default"].weight, other.lora_B["default"].weight
            torch.manual_seed(layer.index)
            up.data.normal_(std=0.3)
            module.lora_A.data.copy_(down)
            module.lora_B.data.copy_(up)
            pairs += [(module.lora_A, down), (module.lora_B, up)]
    a, b = ours(**batch()).logits, theirs(**batch()).logits
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(a, model()(**batch()).logits, atol=1e-2), "the update did nothing: a void comparison"
    loss(a).backward()
    loss(b).backward()
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_plain_prefix_agrees_with_peft() -> None:
    config = peft.PrefixTuningConfig(num_virtual_tokens=LENGTH, prefix_projection=False, task_type="SEQ_CLS")
    base = model()
    take_past_key_values(base.bert)
    theirs = peft.get_peft_model(base, config).eval()
    embedding = theirs.prompt_encoder["default"].embedding.weight  # (length, layers * 2 * width)
    ours = model()
    freeze(ours)
    Prefix(length=LENGTH, hidden=0).adapt(ours.bert)
    states = embedding.detach().view(LENGTH, 3, 2, 4, 8).permute(1, 2, 0, 3, 4)
    prefixes = [layer_prefix(layer) for layer in layers(ours.bert)]
    for prefix, state in zip(prefixes, states, strict=True):
        prefix.states.data.copy_(state)
    # peft's goes through a cache, which shifts the positions of the tokens by its length.
    positions = torch.arange(LENGTH, LENGTH + 9).expand(4, -1)
    a = ours(**batch(), position_ids=positions).logits
    b = theirs(**batch()).logits
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    bare = model()(**batch(), position_ids=positions).logits
    assert not torch.allclose(a, bare, atol=1e-4), "the prefix did nothing: a void comparison"
    loss(a).backward()
    loss(b).backward()
    assert embedding.grad is not None
    expected = embedding.grad.view(LENGTH, 3, 2, 4, 8).permute(1, 2, 0, 3, 4)
    for prefix, gradient in zip(prefixes, expected, strict=True):
        torch.testing.assert_close(prefix.states.grad, gradient, atol=1e-5, rtol=1e-4)
