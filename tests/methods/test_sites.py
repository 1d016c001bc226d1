"""Every method on every architecture of the table keeps the contract or is refused with its reason."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from bench.contract.architectures import SMALL_MODELS, check_method, small_config, workbench
from bench.registry.methods import resolve_method
from methods.adapter import AdapterLinear, AdapterNorm
from methods.kit.base import Method
from methods.kit.parts import layer_index
from methods.kit.sites import ARCHITECTURES, layers, linear_at, missing, positions

NEW = ["albert", "modernbert", "deberta-v2", "gpt2", "llama", "qwen2", "qwen3"]
DECODERS = ["gpt2", "llama", "qwen2", "qwen3"]
METHODS = [
    "head",
    "full",
    "bitfit",
    "adapter[bottleneck=4]",
    "adapter[bottleneck=4,placement=houlsby]",
    "lora[r=2]",
    "lora[r=2,targets=o+ffn]",
    "prefix[length=3,hidden=8]",
    "prefix[length=3,hidden=0]",
    "unipelt[bottleneck=4,length=3,hidden=8,r=2]",
    "unipelt[parts=PL,length=3,hidden=8,r=2,prefix_gate=log]",
    "unipelt[parts=AL,bottleneck=4,r=2]",
    "unipelt[gate=none,bottleneck=4,length=3,hidden=8,r=2]",
]
FUSED = "query, key and value are one fused projection"
PRE_NORM = "its layers have their norms before the blocks"
REFUSED = {
    ("bitfit", "modernbert"): "has no bias to train",
    ("bitfit", "llama"): "has no bias to train",
    ("bitfit", "qwen3"): "has no bias to train",
    ("adapter", "gpt2"): "Conv1D",
    ("lora", "modernbert"): FUSED,
    ("lora", "gpt2"): FUSED,
    ("lora[targets=o+ffn]", "gpt2"): "Conv1D",
    ("prefix", "deberta-v2"): "registry of attention functions",
    ("unipelt", "albert"): "all layers are one",
    ("unipelt", "modernbert"): FUSED,
    ("unipelt", "llama"): PRE_NORM,
    ("unipelt", "qwen2"): PRE_NORM,
    ("unipelt[parts=AL]", "deberta-v2"): "serve the relative positions too",
    ("unipelt-ap", "gpt2"): PRE_NORM,
}


def method(text: str) -> Method:
    return resolve_method(text).method


@pytest.mark.parametrize("architecture", NEW)
@pytest.mark.parametrize("text", METHODS)
def test_kept_or_refused(text: str, architecture: str) -> None:
    findings = list(check_method(method(text), {architecture: SMALL_MODELS[architecture]}))
    assert [f"{finding.check}: {finding.says}" for finding in findings if finding.status == "broken"] == []


@pytest.mark.parametrize(("text", "architecture"), REFUSED)
def test_a_refusal_names_what_is_missing(text: str, architecture: str) -> None:
    reason = method(text).unsupported(small_config(architecture))
    assert reason is not None
    assert architecture in reason
    assert REFUSED[text, architecture] in reason


@pytest.mark.parametrize("architecture", SMALL_MODELS)
def test_every_site_is_there_or_has_a_reason(architecture: str) -> None:
    model = AutoModel.from_config(small_config(architecture))
    row = ARCHITECTURES[architecture]
    assert layers(model)
    for site in ("query", "key", "value", "output", "ffn_in", "ffn_out"):
        if site in row.lacks:
            assert missing(model.config, site)
            with pytest.raises(ValueError, match=r"is a Conv1D|one fused projection"):
                linear_at(layers(model)[0], site)
        else:
            linear_at(layers(model)[0], site)
    assert (row.ffn_norm is None) == ("ffn_norm" in row.lacks)


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("text", ["prefix[length=3,hidden=0]", "unipelt[parts=P,length=3,gate=none]"])
def test_a_prefix_keeps_the_causal_mask(text: str, architecture: str) -> None:
    bench = workbench(method(text), architecture)
    backbone = bench.adapted().backbone
    batch, _ = bench.batch()
    bare = bench.make().backbone
    with torch.no_grad():
        before = backbone(**batch).last_hidden_state
        later = {name: value.clone() for name, value in batch.items()}
        later["input_ids"][:, 5:] = 7
        after = backbone(**later).last_hidden_state
        plain = bare(**batch).last_hidden_state
    torch.testing.assert_close(after[:, :5], before[:, :5], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(after[:, 5:], before[:, 5:], atol=1e-4)
    assert not torch.allclose(before, plain, atol=1e-4), "the prefix did nothing: a void comparison"


@pytest.mark.parametrize("architecture", DECODERS)
def test_left_padding_changes_nothing(architecture: str) -> None:
    """Tokenizers of decoders pad on the left; positions are then given by the mask."""
    bench = workbench(method("prefix[length=3,hidden=0]"), architecture)
    backbone = bench.adapted().backbone
    batch, _ = bench.batch()
    rows, tokens = batch["input_ids"].shape
    padding = torch.ones(rows, 2, dtype=torch.long)
    padded = {
        "input_ids": torch.cat((padding, batch["input_ids"]), 1),
        "attention_mask": torch.cat((0 * padding, batch["attention_mask"]), 1),
        "position_ids": torch.cat((0 * padding, torch.arange(tokens).expand(rows, -1)), 1),
    }
    with torch.no_grad():
        torch.testing.assert_close(
            backbone(**padded).last_hidden_state[:, 2:], backbone(**batch).last_hidden_state, atol=1e-5, rtol=1e-4
        )


def trained(text: str, architecture: str) -> int:
    backbone = workbench(method(text), architecture).adapted().backbone
    return sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad)


def test_grouped_queries_have_a_narrower_prefix() -> None:
    # 2 layers x keys and values x 3 positions x heads of width 8: one key-value head against two heads.
    assert trained("prefix[length=3,hidden=0]", "llama") == 2 * 2 * 3 * 1 * 8
    assert trained("prefix[length=3,hidden=0]", "gpt2") == 2 * 2 * 3 * 2 * 8


def test_albert_counts_its_shared_layer_once() -> None:
    # query and value of one 16 x 16 layer, rank 2, though it is run twice.
    assert trained("lora[r=2]", "albert") == 2 * 2 * (16 + 16)


def test_where_the_adapter_stands() -> None:
    """Around the norm behind the feed-forward block; in pre-norm layers on its output, before the residual."""
    for architecture, kind in {"bert": AdapterNorm, "albert": AdapterNorm, "llama": AdapterLinear}.items():
        modules = [type(module) for module in workbench(method("adapter"), architecture).adapted().modules()]
        assert modules.count(kind) == (1 if architecture == "albert" else 2)
    model = workbench(method("adapter"), "llama").adapted().backbone
    assert isinstance(model.get_submodule("layers.0.mlp.down_proj"), AdapterLinear)


def test_several_groups_of_shared_layers_are_refused() -> None:
    config = small_config("albert")
    config.num_hidden_groups = 2
    assert "2 groups of shared layers" in str(method("lora").unsupported(config))


@pytest.mark.parametrize(
    ("name", "index"), [("encoder.layer.3.output.bias", 3), ("h.11.attn.c_attn.weight", 11), ("wte.weight", None)]
)
def test_layer_index(name: str, index: int | None) -> None:
    assert layer_index(name) == index


LEARNED = ["bert", "roberta", "electra", "distilbert", "albert", "gpt2"]
"""Architectures with a table of positions, which ends."""


@pytest.mark.parametrize("architecture", LEARNED)
def test_a_text_of_as_many_tokens_as_there_are_positions_fits_and_no_longer_one(architecture: str) -> None:
    config = small_config(architecture)
    model = AutoModel.from_config(config).eval()
    most = positions(config)
    assert most == (38 if architecture == "roberta" else 40)
    model(torch.full((1, most), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, most + 1), 5))
