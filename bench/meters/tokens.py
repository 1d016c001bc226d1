"""Tokens of the run's batches: those of the texts, and those that pad short texts to the longest of their batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from bench.meters.column import Column
from bench.meters.meter import Absent, Figures, Finding, Meter, Observed

_COUNTED = "lengths of the texts, of the rows that the batches held; counted while the clock stands"


class Tokens(Meter):
    """Counts useful tokens, and the share of padding among all that were computed."""

    name: ClassVar[str] = "tokens"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="train_useful_tokens",
            label="useful training tokens",
            group="other",
            phase="train",
            better=None,
            says="Tokens of the texts that were trained on, with repetition, without padding.",
            formula="sum over the rows of the training batches of their length in tokens",
            meter=_COUNTED,
            error="special tokens such as [CLS] count, and so does every text as often as it was trained on",
        ),
        Column(
            key="train_padding_share",
            label="padding in training",
            group="other",
            phase="train",
            follows="train_useful_tokens",
            better=None,
            says="Share of padding among the tokens that the training batches held. --batches by-length makes it small.",
            formula="1 - train_useful_tokens / (rows x padded length, summed over the batches)",
            meter=_COUNTED,
            error="the same for all methods at the same rows and seed: it is of the protocol, not of a method",
        ),
        Column(
            key="infer_useful_tokens",
            label="useful test tokens",
            group="other",
            phase="infer",
            better=None,
            says="Tokens of the test rows without padding.",
            formula="sum over the test rows of their length in tokens",
            meter=_COUNTED,
            error="special tokens such as [CLS] count",
        ),
        Column(
            key="infer_padding_share",
            label="padding at the test",
            group="other",
            phase="infer",
            follows="infer_useful_tokens",
            better=None,
            says="Share of padding among the tokens that the test batches held.",
            formula="1 - infer_useful_tokens / (rows x padded length, summed over the test batches)",
            meter=_COUNTED,
            error="test rows are batched from long to short, so there is little of it",
        ),
    )

    def observed(self, seen: Observed) -> Figures:
        share: float | Absent = 1 - seen.useful_tokens / seen.tokens if seen.tokens else Absent("there were no batches")
        if seen.phase == "train":
            return {"train_useful_tokens": seen.useful_tokens, "train_padding_share": share}
        return {"infer_useful_tokens": seen.useful_tokens, "infer_padding_share": share}

    def doctor(self) -> Iterator[Finding]:
        yield Finding("tokens", "measured", "lengths of the texts, counted while the clock stands")
