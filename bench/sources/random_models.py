"""Random models: a shape instead of weights, and a tokenizer that needs no download."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

SEED = 0
"""Random weights of every shape derive from it, whatever a run's own seed."""

_TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
_TINY_DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 256}


@dataclass(frozen=True)
class ModelShape:
    """A configuration to make a random model of.

    Attributes:
        model_type: transformers' name of the architecture.
        about: one line for `bench list models`.
        settings: what differs from the configuration's defaults; `vocab_size` is the tokenizer's if absent.
    """

    model_type: str
    about: str
    settings: Mapping[str, Any] = field(default_factory=dict)


SHAPES: dict[str, ModelShape] = {
    "tiny": ModelShape("bert", "random BERT, 2 layers of 32, for tests", _TINY),
    "tiny-bert": ModelShape("bert", "random BERT, 2 layers of 32, for tests", _TINY),
    "tiny-roberta": ModelShape("roberta", "random RoBERTa, 2 layers of 32, for tests", _TINY),
    "tiny-electra": ModelShape("electra", "random ELECTRA, 2 layers of 32, for tests", {**_TINY, "embedding_size": 16}),
    "tiny-distilbert": ModelShape("distilbert", "random DistilBERT, 2 layers of 32, for tests", _TINY_DISTILBERT),
    "bert-base-shape": ModelShape(
        "bert", "random weights in the dimensions of BERT-base uncased, for counting", {"vocab_size": 30522}
    ),
}


def shape_config(name: str) -> PretrainedConfig:
    """The configuration of a random model."""
    from transformers import AutoConfig

    shape = SHAPES[name]
    vocabulary = {"vocab_size": len(_vocabulary()), "pad_token_id": 0}
    return AutoConfig.for_model(shape.model_type, **{**vocabulary, **shape.settings})


def shape_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer over pairs of letters: it knows every English word and needs no file."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = _vocabulary()
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    inputs = ["input_ids", "attention_mask"]
    if SHAPES[name].model_type in {"bert", "electra"}:
        inputs.insert(1, "token_type_ids")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=inputs,
        model_max_length=256,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _vocabulary() -> dict[str, int]:
    """Special tokens, printable characters, and pairs of letters, alone and as continuations."""
    letters, digits = string.ascii_lowercase, string.digits
    characters = letters + digits + string.punctuation
    pairs = ["".join(pair) for pair in product(letters, repeat=2)]
    pieces = [*characters, *pairs]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *(f"##{piece}" for piece in pieces)]
    return {token: index for index, token in enumerate(tokens)}
