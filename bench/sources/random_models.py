"""Random models for tests and counts: a configuration without weights, and a tokenizer that needs no download."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

SEED = 0
"""The seed of the random weights. It is the same for all runs, as pretrained weights are."""

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
    """The configuration of a random model.

    Attributes:
        model_type: the name of the architecture in transformers.
        about: its description in `bench list models`.
        settings: values that differ from the defaults of the architecture; without `vocab_size`, the size of the
            tokenizer's vocabulary is used.
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
    """Makes the transformers configuration of a random model.

    >>> shape_config("tiny").hidden_size
    32
    """
    from transformers import AutoConfig

    shape = SHAPES[name]
    vocabulary = {"vocab_size": len(_vocabulary()), "pad_token_id": 0}
    return AutoConfig.for_model(shape.model_type, **{**vocabulary, **shape.settings})


def shape_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Makes a WordPiece tokenizer for a random model.

    Its pieces are pairs of letters, so that it can split every English word and needs no file.

    >>> shape_tokenizer("tiny").tokenize("bread")
    ['br', '##ea', '##d']
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = _vocabulary()
    # 100 letters are the limit of BERT's tokenizer too; a longer word becomes [UNK].
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    inputs = ["input_ids", "attention_mask"]
    if SHAPES[name].model_type in {"bert", "electra"}:  # the others have no embeddings of token types
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
    """Lists special tokens, printable characters and pairs of letters; the last two also as continuations (`##ea`)."""
    letters, digits = string.ascii_lowercase, string.digits
    characters = letters + digits + string.punctuation
    pairs = ["".join(pair) for pair in product(letters, repeat=2)]
    pieces = [*characters, *pairs]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *(f"##{piece}" for piece in pieces)]
    return {token: index for index, token in enumerate(tokens)}
