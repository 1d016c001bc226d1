"""Turns texts into tokens, once for each run, and tokens into padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from bench.sources.split import Example
    from bench.tasks import Kind

_CHUNK = 4096  # rows tokenized in one call: fast, and the lists of a large task never all live at once


@dataclass(frozen=True)
class Encoded:
    """The tokens of many examples in one array, one example after another, without padding.

    Attributes:
        tokens: (all tokens,) int32, the input ids.
        types: (all tokens,) int32, the token type ids; None if the tokenizer has none.
        starts: (examples,) the index in `tokens` of the first token of each example.
        lengths: (examples,) the number of tokens of each example.
        labels: (examples,) from `Kind.encode`: int64 class indices or float32 numbers.
        padding: the ids that pad tokens and token types.
        pad_left: whether padding is to the left of the tokens.
    """

    tokens: np.ndarray
    types: np.ndarray | None
    starts: np.ndarray
    lengths: np.ndarray
    labels: Tensor
    padding: tuple[int, int]
    pad_left: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, rows: np.ndarray) -> Encoded:
        """Returns the examples with these indices, (rows,), in this order. No token is copied."""
        return replace(self, starts=self.starts[rows], lengths=self.lengths[rows], labels=self.labels[rows])

    def useful_tokens(self, visits: Mapping[int, int] | None = None) -> int:
        """Tokens of the examples, without padding.

        Args:
            visits: index of an example -> how many times it counts; None: each of them once.
        """
        if visits is None:
            return int(self.lengths.sum())
        return sum(times * int(self.lengths[row]) for row, times in visits.items())


class Batch(NamedTuple):
    """A batch of examples.

    Attributes:
        inputs: name -> tensor, the arguments of the model.
        labels: (batch,).
        rows: (batch,) the indices of the examples.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    rows: Tensor


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, kind: Kind, max_length: int) -> Encoded:
    """Tokenizes examples. Longer ones are cut; of a pair, the longer text loses tokens first.

    Args:
        examples: the examples.
        tokenizer: the tokenizer of the model.
        kind: the kind of the task, which makes the tensor of the labels.
        max_length: the largest number of tokens of an example, special tokens included.
    """
    import numpy as np

    tokens: list[np.ndarray] = [np.zeros(0, np.int32)]  # so that no examples can be concatenated, too
    types: list[np.ndarray] = []
    lengths: list[int] = []
    for begin in range(0, len(examples), _CHUNK):
        chunk = examples[begin : begin + _CHUNK]
        lists = _tokenized(chunk, tokenizer, max_length)
        lengths += map(len, lists["input_ids"])
        tokens += (np.asarray(ids, np.int32) for ids in lists["input_ids"])
        types += (np.asarray(ids, np.int32) for ids in lists.get("token_type_ids", ()))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return Encoded(
        tokens=np.concatenate(tokens),
        types=np.concatenate(types) if types else None,
        starts=np.cumsum([0, *lengths])[:-1],
        lengths=np.asarray(lengths, np.int64),
        labels=kind.encode([example.label for example in examples]),
        padding=(padding or 0, tokenizer.pad_token_type_id),
        pad_left=tokenizer.padding_side == "left",
    )


def _tokenized(
    chunk: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, list[list[int]]]:
    """Calls the tokenizer; returns the name of each input -> the ids of each example, in the order of the chunk."""
    inputs: dict[str, list[list[int]]] = {}
    for paired in (False, True):  # one call of the tokenizer takes either single texts or pairs
        rows = [row for row, example in enumerate(chunk) if (example.pair is not None) is paired]
        if not rows:
            continue
        pairs = [pair for row in rows if (pair := chunk[row].pair) is not None]
        encoding = tokenizer(
            [chunk[row].text for row in rows],
            pairs or None,
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
        )
        for name, lists in encoding.items():
            by_row = inputs.setdefault(name, [[] for _ in chunk])
            for row, ids in zip(rows, lists, strict=True):
                by_row[row] = ids
    return inputs


def batches(
    encoded: Encoded, *, size: int, order: torch.Generator | None = None, by_length: bool = False
) -> Iterator[Batch]:
    """Yields batches, each padded to its longest example.

    Args:
        encoded: the examples.
        size: the number of examples in a batch; the last batch may have fewer.
        order: the generator that shuffles the examples, for training; None: from long to short, for evaluation, which
            needs the least padding.
        by_length: whether shuffled examples of like length share a batch, see `grouped_by_length`.
    """
    import numpy as np
    import torch

    if order is None:
        chunks = torch.from_numpy(np.argsort(-encoded.lengths, kind="stable")).split(size)
    elif by_length:
        chunks = grouped_by_length(encoded.lengths, size=size, order=order)
    else:
        chunks = torch.randperm(len(encoded), generator=order).split(size)
    for chosen in chunks if len(encoded) else ():
        yield Batch(_padded(encoded, chosen.numpy()), encoded.labels[chosen], chosen)


_POOL_BATCHES = 32
"""Most batches that one pool is cut into: a batch then spans about a thirty-second of the lengths, in their order, and
larger pools would save little more padding."""


def grouped_by_length(lengths: np.ndarray, *, size: int, order: torch.Generator) -> Sequence[Tensor]:
    """The batches of one epoch, each of examples of like length: every example once, in another way each epoch.

    The examples are shuffled and cut into pools. Each pool is sorted by length and cut into batches, and the batches of
    all pools are shuffled. Of two equally long examples either may come first. There are two pools at least, of random
    halves, so that other examples share a batch in each epoch, however few there are. The rest of the shuffle that
    fills no batch is the last, short batch, as without grouping: no length is more likely to stand in it.

    With the same shuffle, never more tokens are padding than if it were cut into batches as it is.

    The sampler of transformers' Trainer (`get_length_grouped_indices` in trainer_pt_utils.py) makes pools the same way,
    four at least and of 50 batches at most, but goes from long to short within a pool, so that the length of a batch
    follows a saw-tooth through the epoch. Here the order of batches is random.

    Args:
        lengths: (examples,) in tokens.
        size: examples in a batch.
        order: shuffles; the same state gives the same batches.

    Returns:
        For each batch the indices of its examples.

    Examples:
        >>> import numpy as np, torch
        >>> batches = grouped_by_length(np.array([3, 9, 3, 9, 9]), size=2, order=torch.Generator().manual_seed(0))
        >>> [len(batch) for batch in batches], sorted(torch.cat(list(batches)).tolist())
        ([2, 2, 1], [0, 1, 2, 3, 4])
    """
    import torch

    rows = torch.randperm(len(lengths), generator=order)
    whole = len(rows) // size  # batches
    shuffled, rest = rows[: whole * size].view(whole, size), rows[whole * size :]
    chunks: list[Tensor] = []
    for pool in shuffled.tensor_split(max(2, -(-whole // _POOL_BATCHES))):
        members = pool.flatten()
        by_length = torch.from_numpy(lengths[members.numpy()]).argsort(stable=True)
        chunks += members[by_length].view(pool.shape)
    turns = torch.randperm(whole, generator=order).tolist()
    return [*(chunks[turn] for turn in turns), *([rest] if len(rest) else [])]


def _padded(encoded: Encoded, rows: np.ndarray) -> dict[str, Tensor]:
    """Makes the inputs of the model for these examples, each (batch, longest), int64."""
    import numpy as np
    import torch

    starts, lengths = encoded.starts[rows, None], encoded.lengths[rows, None]
    places = np.arange(lengths.max())[None]  # (1, longest)
    if encoded.pad_left:  # shift each example to the right end; padding gets negative places
        places = places - (places.shape[1] - lengths)
    mask = (places >= 0) & (places < lengths)  # (batch, longest)
    sources = np.where(mask, starts + places, 0)  # indices in `tokens`; any valid one for padding

    def padded(values: np.ndarray, padding: int) -> Tensor:
        return torch.from_numpy(np.where(mask, values[sources], padding).astype(np.int64))

    inputs = {
        "input_ids": padded(encoded.tokens, encoded.padding[0]),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
    if encoded.types is not None:
        inputs["token_type_ids"] = padded(encoded.types, encoded.padding[1])
    return inputs
