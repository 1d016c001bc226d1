"""Batches against the tokenizer's own padding."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bench.sources.split import Example
from bench.tasks import kind_named
from bench.training.encoding import Encoded, batches, encode, grouped_by_length

CLASSES, REGRESSION = kind_named("classes"), kind_named("regression")
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"abcdefgh"]


def make_tokenizer(padding_side: str = "right", types: bool = True) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"] if types else ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        padding_side=padding_side,
        model_input_names=names,
    )


PAIRS = [
    Example("a b", "c", 1),
    Example("a", "b c d e f", 0),
    Example("a b c d e f", "g h", 1),
    Example("", "a", 0),
]


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("types", [True, False])
@pytest.mark.parametrize("max_length", [6, 20])
def test_a_batch_is_what_the_tokenizer_itself_would_give(padding_side: str, types: bool, max_length: int) -> None:
    tokenizer = make_tokenizer(padding_side, types)
    encoded = encode(PAIRS, tokenizer, kind=CLASSES, max_length=max_length)
    assert ("token_type_ids" in tokenizer("a")) is types
    for batch in batches(encoded, size=3):
        own = tokenizer(
            [PAIRS[row].text for row in batch.rows],
            [str(PAIRS[row].pair) for row in batch.rows],
            truncation=True,
            max_length=max_length,
            padding=True,
            return_tensors="pt",
        )
        assert set(batch.inputs) == set(own)
        for name, tensor in batch.inputs.items():
            assert tensor.dtype == torch.int64
            assert torch.equal(tensor, own[name])
        assert batch.labels.tolist() == [PAIRS[row].label for row in batch.rows]


def test_single_texts_and_real_labels() -> None:
    encoded = encode(
        [Example("a b", None, 0.5), Example("c", None, -1.0)], make_tokenizer(), kind=REGRESSION, max_length=8
    )
    (batch,) = batches(encoded, size=8)
    assert batch.inputs["input_ids"].tolist() == [[1, 4, 5, 2], [1, 6, 2, 0]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.labels.dtype == torch.float32
    assert batch.labels.tolist() == [0.5, -1.0]


def test_evaluation_goes_from_long_to_short_and_keeps_the_order_of_equals() -> None:
    examples = [Example(text, None, 0) for text in ("a", "a b", "b", "b c", "a b c")]
    found = [
        batch.rows.tolist() for batch in batches(encode(examples, make_tokenizer(), kind=CLASSES, max_length=9), size=2)
    ]
    assert found == [[4, 1], [3, 0], [2]]


def numbered(count: int) -> Encoded:
    examples = [Example(" ".join("abc"[: index % 3 + 1]), None, index) for index in range(count)]
    return encode(examples, make_tokenizer(), kind=CLASSES, max_length=9)


@given(st.integers(0, 30), st.integers(1, 9), st.integers(0, 99))
def test_every_example_once_an_epoch(count: int, size: int, seed: int) -> None:
    encoded = numbered(count)
    for order, by_length in ((None, False), (torch.Generator().manual_seed(seed), False), (torch.Generator(), True)):
        seen = [batch.labels.tolist() for batch in batches(encoded, size=size, order=order, by_length=by_length)]
        assert sorted(functools.reduce(operator.iadd, seen, [])) == list(range(count))
        assert all(len(batch) == size for batch in seen[:-1])


@given(st.lists(st.integers(1, 128), max_size=700), st.integers(1, 9), st.integers(0, 99))
def test_grouped_batches_hold_no_more_padding_than_the_same_shuffle_cut_as_it_is(
    lengths: list[int], size: int, seed: int
) -> None:
    tokens = np.array(lengths, dtype=np.int64)
    order = torch.Generator().manual_seed(seed)
    grouped = grouped_by_length(tokens, size=size, order=order)
    shuffle = torch.randperm(len(lengths), generator=order.manual_seed(seed))
    assert torch.equal(torch.cat([*grouped, torch.zeros(0, dtype=torch.long)]).sort().values, shuffle.sort().values)
    assert padded(tokens, grouped) <= padded(tokens, shuffle.split(size))
    if len(lengths) % size:
        assert torch.equal(grouped[-1], shuffle.split(size)[-1])  # the short batch is as random as ever


def padded(lengths: np.ndarray, chunks: Sequence[torch.Tensor]) -> int:
    return sum(len(chunk) * int(lengths[chunk.numpy()].max()) for chunk in chunks if len(chunk))


def test_most_padding_goes_and_batches_neither_repeat_nor_follow_their_length() -> None:
    lengths = np.random.default_rng(0).permutation(np.arange(20, 1020))  # no two of one length
    order = torch.Generator().manual_seed(0)
    one, other = ([frozenset(chunk.tolist()) for chunk in epoch(lengths, order)] for _ in "ab")
    assert len({*one} & {*other}) < len(one) / 10
    longest = [max(lengths[list(chunk)]) for chunk in one]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3
    assert padded(lengths, epoch(lengths, order)) < 1.05 * lengths.sum()
    assert padded(lengths, torch.randperm(1000, generator=order).split(8)) > 1.5 * lengths.sum()


def epoch(lengths: np.ndarray, order: torch.Generator) -> Sequence[torch.Tensor]:
    return grouped_by_length(lengths, size=8, order=order)


@pytest.mark.parametrize("by_length", [False, True])
def test_the_generator_alone_decides_the_order_and_goes_on(by_length: bool) -> None:
    encoded = numbered(50)

    def epochs(seed: int) -> list[list[int]]:
        order = torch.Generator().manual_seed(seed)
        drawn = [batches(encoded, size=8, order=order, by_length=by_length) for _ in "ab"]
        return [torch.cat([batch.rows for batch in one]).tolist() for one in drawn]

    torch.manual_seed(1)
    one = epochs(5)
    torch.manual_seed(2)
    assert epochs(5) == one
    assert one[0] != one[1]
    assert epochs(6) != one


def test_chunks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = numbered(30)
    monkeypatch.setattr("bench.training.encoding._CHUNK", 7)
    parts = numbered(30)
    assert whole.tokens.tolist() == parts.tokens.tolist()
    assert whole.starts.tolist() == parts.starts.tolist()
    assert len(parts) == 30


@pytest.mark.parametrize("first_has_a_pair", [True, False])
@pytest.mark.parametrize("types", [True, False])
def test_texts_with_and_without_a_pair_in_one_chunk(first_has_a_pair: bool, types: bool) -> None:
    examples = [Example("a b", "c d", 0), Example("e", None, 1), Example("f", "g", 0), Example("h a b", None, 1)]
    if not first_has_a_pair:
        examples.reverse()
    tokenizer = make_tokenizer(types=types)
    encoded = encode(examples, tokenizer, kind=CLASSES, max_length=20)
    for row, example in enumerate(examples):
        (batch,) = batches(encoded.only(np.array([row])), size=1)
        own = tokenizer(example.text, example.pair, return_tensors="pt")
        assert set(batch.inputs) == set(own)
        for name, tensor in batch.inputs.items():
            assert torch.equal(tensor, own[name])
