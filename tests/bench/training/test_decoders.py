"""Decoders as classifiers: no key-value cache, positions that padding cannot move, a pad token where none is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from bench.errors import UserError
from bench.meters.instruments.live_tensors import LiveTensors
from bench.records.spec import HeadKind, Measures, ModelSpec
from bench.run import execute
from bench.sources.models import Backbone, fetch_model
from bench.sources.split import Example
from bench.tasks import kind_named
from bench.training.classifier import load_classifier
from bench.training.encoding import batches, encode
from methods.kit.base import Classifier
from tests.conftest import MakeSpec

WORDS = ["<unk>", "<end>", *"abcdefghij"]
GROUPED = {"num_key_value_heads": 1, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": GROUPED | {"intermediate_size": 24},
    "qwen3": GROUPED | {"intermediate_size": 24, "head_dim": 8},
}
EXAMPLES = [
    Example("a b c d e f g", None, 0),
    Example("h", None, 1),
    Example("i j a", None, 0),
    Example("b b c c d", None, 1),
]


def tokenizer(*, side: str = "right", end: str | None = "<end>") -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token=end, padding_side=side)


def published(folder: Path, architecture: str, *, side: str = "right", pad: int | None = None) -> Backbone:
    """A decoder as published: its tokenizer has no pad token, nor has its configuration unless one is given."""
    torch.manual_seed(3)
    tokens = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": pad}
    config = AutoConfig.for_model(architecture, vocab_size=len(WORDS), **tokens, **DECODERS[architecture])
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer(side=side).save_pretrained(folder)
    return Backbone(ModelSpec(name=str(folder), revision="0"), folder, "native")


def classifier(backbone: Backbone, head: HeadKind) -> Classifier:
    left = backbone.tokenizer().padding_side == "left"
    return load_classifier(backbone, outputs=2, head=head, seed=0, padded_left=left).eval()


def logits(model: Classifier, backbone: Backbone, *, size: int) -> torch.Tensor:
    """(examples, 2), in the examples' order."""
    encoded = encode(EXAMPLES, backbone.tokenizer(), kind=kind_named("classes"), max_length=16)
    result = torch.empty(len(EXAMPLES), 2)
    for batch in batches(encoded, size=size):
        with torch.no_grad():
            result[batch.rows] = model(**batch.inputs)
    return result


@pytest.mark.parametrize("head", ["mean", "last", "native"])
@pytest.mark.parametrize("architecture", DECODERS)
def test_neither_the_padding_side_nor_the_batch_changes_the_logits(
    architecture: str, head: HeadKind, tmp_path: Path
) -> None:
    alone = None
    for side in ("right", "left"):
        backbone = published(tmp_path / side, architecture, side=side)
        model = classifier(backbone, head)
        for size in (1, 2, 4):
            scored = logits(model, backbone, size=size)
            alone = scored if alone is None else alone
            torch.testing.assert_close(scored, alone, rtol=0, atol=1e-6)
    assert alone is not None
    assert float((alone[0] - alone[1]).abs().max()) > 1e-3, "texts of their own have logits of their own"


def test_right_padding_calls_the_model_as_before(tmp_path: Path) -> None:
    """Its positions are the model's own, so that no bit of a score changes."""
    backbone = published(tmp_path, "gpt2")
    asked: list[set[str]] = []
    model = classifier(backbone, "last")
    model.backbone.register_forward_pre_hook(lambda _, __, named: asked.append(set(named)), with_kwargs=True)
    logits(model, backbone, size=4)
    model.padded_left = True
    logits(model, backbone, size=4)
    assert asked == [{"input_ids", "attention_mask"}, {"input_ids", "attention_mask", "position_ids"}]


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "electra"])
def test_encoders_padded_on_the_left(architecture: str, tmp_path: Path) -> None:
    """RoBERTa counts positions from the pad token itself, the others are told them."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    if architecture == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    config = AutoConfig.for_model(architecture, vocab_size=len(WORDS), pad_token_id=1, **sizes)
    for side in ("right", "left"):
        torch.manual_seed(3)
        AutoModel.from_config(config).save_pretrained(tmp_path / side)
        tokenizer(side=side).save_pretrained(tmp_path / side)
    right, left = (Backbone(ModelSpec(name=s, revision="0"), tmp_path / s, "native") for s in ("right", "left"))
    alone = logits(classifier(right, "mean"), right, size=1)
    torch.testing.assert_close(logits(classifier(left, "mean"), left, size=4), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", ["last", "native"])
@pytest.mark.parametrize("architecture", DECODERS)
def test_no_keys_and_values_are_kept(architecture: str, head: HeadKind, tmp_path: Path) -> None:
    """The published configuration asks for a cache; what it would hold to the end is not in the live bytes."""
    backbone = published(tmp_path, architecture)
    assert backbone.config().use_cache
    model = classifier(backbone, head)
    rows, length = 8, 32
    ids = torch.full((rows, length), 5)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def peak() -> int:
        with torch.inference_mode(), LiveTensors(model, inputs=batch) as meter:
            model(**batch)
        return meter.figures.peak_bytes

    kept: list[object] = []
    hook = model.backbone.register_forward_hook(lambda _, __, output: kept.append(output.past_key_values))
    without = peak()
    hook.remove()
    assert kept == [None]
    model.backbone.config.use_cache = True
    heads = 2 if architecture == "gpt2" else 1
    assert peak() - without >= rows * length * heads * 8 * 4, "the keys of one layer at least"


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_pad_token_is_set_in_tokenizer_and_configuration(architecture: str, tmp_path: Path) -> None:
    backbone = published(tmp_path / "none", architecture)
    assert backbone.tokenizer().pad_token == "<end>"
    assert backbone.config().pad_token_id == 1
    other = published(tmp_path / "unknown", architecture, pad=0)
    assert other.tokenizer().pad_token == "<unk>", "what the model takes for padding is what is padded with"
    assert other.config().pad_token_id == 0


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    backbone = published(tmp_path, "gpt2")
    for file in tmp_path.glob("*token*"):
        file.unlink()
    tokenizer(end=None).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"neither a pad token .* set pad_token in its tokenizer_config\.json"):
        backbone.tokenizer()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("architecture", DECODERS)
def test_a_decoder_as_published_runs_at_its_default_head(
    architecture: str, side: str, tmp_path: Path, make_spec: MakeSpec
) -> None:
    published(tmp_path, architecture, side=side)
    backbone = fetch_model(str(tmp_path))
    assert backbone.head == "native"
    asked = make_spec("head", head=None).model_copy(update={"model": backbone.spec})
    outcome = execute(asked, measures=Measures(energy=False, effective=False))
    result = outcome.record.result
    assert result is not None
    assert result.head_kind == "native"
    assert result.costs is not None
    assert not {"train_flops", "infer_flops", "train_live_bytes", "infer_live_bytes"} & set(result.costs.absent)
