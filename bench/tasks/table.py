"""Rows that lie in Arrow columns, so that a million of them are not a million Python tuples.

The functions here take any sequence of rows: a reader of an author may give a plain list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, overload

from bench.tasks.kinds import Label
from bench.tasks.task import Row

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

BATCH = 10_000
"""Rows that are Python objects at a time. A task with fewer stays a list: it weighs less than importing pyarrow."""


class ArrowRows(Sequence[Row]):
    """A read-only sequence of rows in Arrow columns. A row becomes a Python object when it is asked for.

    Args:
        columns: `text`, `pair` (may hold nulls) and `label`, in pieces of `BATCH` rows; the last one may be shorter.
        order: the position in `columns` of each row; None for all rows as they stand. A slice or a draw of rows is
            another order over the same columns, so that it copies no text.
    """

    def __init__(self, columns: pa.Table, order: NDArray[np.int64] | None = None) -> None:
        self._columns = columns
        self._order = order

    def __len__(self) -> int:
        return self._columns.num_rows if self._order is None else len(self._order)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> ArrowRows: ...

    def __getitem__(self, index: int | slice) -> Row | ArrowRows:
        if isinstance(index, slice):
            return ArrowRows(self._columns, self._positions()[index])
        position = range(len(self))[index]  # refuses what is out of range, and counts negative ones from the end
        return next(_rows(self._batch(position, position + 1)))

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), BATCH):
            yield from _rows(self._batch(start, start + BATCH))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def labels(self) -> Iterator[Label]:
        """The labels in the order of the rows, without their texts."""
        for start in range(0, len(self), BATCH):
            yield from self._batch(start, start + BATCH, names=["label"])["label"].to_pylist()

    def take(self, order: NDArray[np.int64]) -> ArrowRows:
        """The rows at these positions, in this order."""
        return ArrowRows(self._columns, self._positions()[order])

    def with_labels(self, labels: Sequence[Label]) -> Sequence[Row]:
        """The same rows with other labels; a list if these fit no Arrow column."""
        if self._order is not None:  # a draw shares its columns with others
            return gather(row._replace(label=label) for row, label in zip(self, labels, strict=True))
        column = _joined_labels([_label_array(labels[start : start + BATCH]) for start in range(0, len(labels), BATCH)])
        if column is None:
            return [row._replace(label=label) for row, label in zip(self, labels, strict=True)]
        return ArrowRows(self._columns.set_column(self._columns.column_names.index("label"), "label", column))

    def _positions(self) -> NDArray[np.int64]:
        import numpy as np

        return np.arange(len(self)) if self._order is None else self._order

    def _batch(self, start: int, stop: int, *, names: Sequence[str] = ("text", "pair", "label")) -> pa.Table:
        """The rows between two positions, copied out of the columns where they do not lie together."""
        columns = self._columns.select(list(names))
        return columns.slice(start, stop - start) if self._order is None else _picked(columns, self._order[start:stop])


def gather(rows: Iterable[Row]) -> Sequence[Row]:
    """Reads rows into Arrow columns, a batch at a time.

    Returns:
        A `ArrowRows`. A list where there are fewer rows than a batch, or where the labels fit no Arrow column: numbers
        mixed with words (which every task refuses), or whole numbers beyond 64 bits.

    >>> rows = gather(Row(f"text {n}", None, n % 2) for n in range(25_000))
    >>> type(rows).__name__, len(rows), rows[-1]
    ('ArrowRows', 25000, Row(text='text 24999', pair=None, label=1))
    """
    source = iter(rows)
    batch = list(islice(source, BATCH))
    if len(batch) < BATCH:
        return batch
    import pyarrow as pa

    texts: list[pa.Array] = []
    pairs: list[pa.Array] = []
    labels: list[pa.Array] = []
    while batch:
        label = _label_array([row.label for row in batch])
        if label is None:
            return [*_unpacked(texts, pairs, labels), *batch, *source]
        texts.append(pa.array([row.text for row in batch], pa.large_string()))
        pairs.append(pa.array([row.pair for row in batch], pa.large_string()))
        labels.append(label)
        batch = list(islice(source, BATCH))
    column = _joined_labels(labels)
    if column is None:
        return list(_unpacked(texts, pairs, labels))
    return ArrowRows(pa.table({"text": pa.chunked_array(texts), "pair": pa.chunked_array(pairs), "label": column}))


def labels(rows: Sequence[Row]) -> Iterator[Label]:
    """The labels of rows, in their order."""
    return rows.labels() if isinstance(rows, ArrowRows) else (row.label for row in rows)


def with_labels(rows: Sequence[Row], labels: Sequence[Label]) -> Sequence[Row]:
    """The same rows with these labels, in their order."""
    if isinstance(rows, ArrowRows):
        return rows.with_labels(labels)
    return [row._replace(label=label) for row, label in zip(rows, labels, strict=True)]


def take(rows: Sequence[Row], order: NDArray[np.int64]) -> Sequence[Row]:
    """The rows at these positions, in this order."""
    return rows.take(order) if isinstance(rows, ArrowRows) else [rows[index] for index in order]


def _picked(columns: pa.Table, positions: NDArray[np.int64]) -> pa.Table:
    """The rows at these positions, piece by piece: `pyarrow.Table.take` first copies all of a column's text."""
    import numpy as np
    import pyarrow as pa

    by_piece = np.argsort(positions // BATCH, kind="stable")
    numbers, starts = np.unique(positions[by_piece] // BATCH, return_index=True)
    groups = np.split(positions[by_piece], starts[1:])
    arrays = []
    for column in columns.columns:
        pieces = [column.chunk(int(n)).take(pa.array(group % BATCH)) for n, group in zip(numbers, groups, strict=True)]
        arrays.append(pa.concat_arrays(pieces).take(pa.array(np.argsort(by_piece))))
    return pa.table(arrays, names=columns.column_names)


def _rows(columns: pa.Table) -> Iterator[Row]:
    return map(Row, *(columns[name].to_pylist() for name in Row._fields))


def _unpacked(texts: list[pa.Array], pairs: list[pa.Array], labels: list[pa.Array]) -> Iterator[Row]:
    for pieces in zip(texts, pairs, labels, strict=True):
        yield from map(Row, *(piece.to_pylist() for piece in pieces))


def _label_array(labels: Sequence[Label]) -> pa.Array | None:
    """A column of int64, float64 or string; None where the labels are none of these."""
    import pyarrow as pa

    try:
        found = pa.array(labels)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
        return None
    if pa.types.is_string(found.type):
        return found.cast(pa.large_string())
    return found if found.type in (pa.int64(), pa.float64()) else None


def _joined_labels(pieces: Sequence[pa.Array | None]) -> pa.ChunkedArray | None:
    """One column out of several; whole numbers beside others become floats, where floats can hold them."""
    import pyarrow as pa

    present = [piece for piece in pieces if piece is not None]
    if len(present) < len(pieces):
        return None
    types = {piece.type for piece in present}
    if types == {pa.int64(), pa.float64()}:
        try:
            present = [piece.cast(pa.float64()) for piece in present]
        except pa.ArrowException:
            return None
    elif len(types) > 1:
        return None
    return pa.chunked_array(present)
