from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, BertModel

from bench.records.spec import HeadKind, ModelSpec
from bench.sources.models import Backbone
from bench.training.classifier import Native, load_classifier, pool
from methods.kit.base import Classifier

TINY = ["tiny-bert", "tiny-roberta", "tiny-electra", "tiny-distilbert"]
HEADS: list[HeadKind] = ["mean", "cls", "last", "native"]


def backbone(name: str = "tiny", folder: Path | None = None) -> Backbone:
    return Backbone(ModelSpec(name=name, revision="seed 0"), folder, "native")


def classifier(name: str = "tiny", head: HeadKind = "mean", seed: int = 0, outputs: int = 3) -> Classifier:
    return load_classifier(backbone(name), outputs=outputs, head=head, seed=seed).eval()


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [50.0, 60.0]], [[70.0, 80.0], [5.0, 6.0], [7.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])  # padding behind, padding before
    assert pool(hidden, mask, "mean").tolist() == [[2.0, 3.0], [6.0, 7.5]]
    assert pool(hidden, mask, "cls").tolist() == [[1.0, 2.0], [5.0, 6.0]]
    assert pool(hidden, mask, "last").tolist() == [[3.0, 4.0], [7.0, 9.0]]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", TINY)
def test_a_padded_batch_gives_the_logits_of_the_unpadded(name: str, head: HeadKind) -> None:
    model, tokenizer = classifier(name, head), backbone(name).tokenizer()
    texts = ["a short one", "and a text that is a good deal longer than the other"]
    with torch.no_grad():
        together = model(**tokenizer(texts, padding=True, return_tensors="pt"))
        alone = [model(**tokenizer(text, return_tensors="pt")) for text in texts]
    assert together.shape == (2, 3)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", TINY)
def test_the_seed_decides_the_head_and_nothing_else(name: str, head: HeadKind) -> None:
    first, again, other = classifier(name, head, 1), classifier(name, head, 1), classifier(name, head, 2)
    heads = set(first.head_parameters())
    assert heads and all(key.startswith("head.") for key in heads)
    values = [dict(model.named_parameters()) for model in (first, again, other)]
    for key, value in values[0].items():
        assert torch.equal(value, values[1][key])
        if key.endswith("weight"):
            assert torch.equal(value, values[2][key]) == (key not in heads)


def test_counts_of_bert_base() -> None:
    """reference/unipelt.md section 5; without pooler where the head does not read it."""
    native = classifier("bert-base-shape", "native", outputs=2)
    assert sum(p.numel() for p in native.backbone.parameters()) == 109_482_240
    assert sum(p.numel() for p in native.head_parameters().values()) == 768 * 2 + 2
    assert set(native.head_parameters()) == {"head.classifier.weight", "head.classifier.bias"}
    mean = classifier("bert-base-shape", "mean", outputs=2)
    assert sum(p.numel() for p in mean.backbone.parameters()) == 109_482_240 - 768 * 769


def test_the_native_head_computes_what_the_model_does() -> None:
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=2)
    model = BertForSequenceClassification(config).eval()
    wrapped = Native(model, outputs=2)
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(wrapped(input_ids=ids), model(input_ids=ids).logits)
    names = [name for name, _ in wrapped.named_parameters()]
    assert len(names) == len(list(model.parameters())), "no parameter has two names, none is lost"
    assert len(wrapped.state_dict()) == len(model.state_dict())
    assert wrapped.train().head["dropout"].training and not wrapped.eval().backbone.training


def saved(folder: Path, *, pooler: bool) -> BertModel:
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    torch.manual_seed(5)
    model = BertModel(config, add_pooling_layer=pooler)
    model.save_pretrained(folder)
    return model


def logits(model: Classifier) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[3, 4, 5]]), attention_mask=torch.ones(1, 3, dtype=torch.long))


def test_weights_come_from_the_checkpoint(tmp_path: Path) -> None:
    model = saved(tmp_path, pooler=True)
    loaded = load_classifier(backbone("x", tmp_path), outputs=2, head="mean", seed=0)
    assert not any("pooler" in name for name, _ in loaded.named_parameters())
    for name, value in loaded.backbone.named_parameters():
        assert torch.equal(value, model.get_parameter(name))
        assert value.dtype == torch.float32


def test_what_the_checkpoint_lacks_is_head(tmp_path: Path) -> None:
    saved(tmp_path, pooler=False)
    first = load_classifier(backbone("x", tmp_path), outputs=2, head="native", seed=1)
    assert set(first.head_parameters()) == {
        "backbone.pooler.dense.weight", "backbone.pooler.dense.bias",
        "head.classifier.weight", "head.classifier.bias",
    }  # fmt: skip
    again = load_classifier(backbone("x", tmp_path), outputs=2, head="native", seed=1)
    other = load_classifier(backbone("x", tmp_path), outputs=2, head="native", seed=2)
    assert torch.equal(logits(first), logits(again))
    assert not torch.equal(logits(first), logits(other))


def test_a_checkpoint_in_half_precision_is_loaded_in_single(tmp_path: Path) -> None:
    saved(tmp_path, pooler=True).half().save_pretrained(tmp_path)
    loaded = load_classifier(backbone("x", tmp_path), outputs=2, head="native", seed=0)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}


def test_a_head_of_another_size_is_made_anew(tmp_path: Path) -> None:
    saved(tmp_path, pooler=True)
    config = BertConfig.from_pretrained(tmp_path, num_labels=5)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    loaded = load_classifier(backbone("x", tmp_path), outputs=3, head="native", seed=0)
    assert logits(loaded).shape == (1, 3)
    assert "head.classifier.weight" in loaded.head_parameters()
