"""Rows stored in Arrow columns, which take far less memory than a Python tuple for each row.

The functions here take any sequence of rows, because the `read` function of a task may return a plain list.
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
"""How many rows exist as Python objects at a time.

A task with fewer rows stays a list, which takes less memory and time than importing pyarrow.
"""


class ArrowRows(Sequence[Row]):
    """A read-only sequence of rows in Arrow columns. A row becomes a Python object only when it is read.

    Args:
        columns: the columns `text`, `pair` (may hold nulls) and `label`, in pieces of `BATCH` rows; the last piece may
            be shorter.
        order: the position of each row in `columns`; None: all rows in the order of the columns. A slice or a random
            draw has another order over the same columns, so that no text is copied.
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
        position = range(len(self))[index]  # raises IndexError, and counts negative indices from the end
        return next(_rows(self._batch(position, position + 1)))

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), BATCH):
            yield from _rows(self._batch(start, start + BATCH))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    def labels(self) -> Iterator[Label]:
        """Yields the labels in the order of the rows, without reading the texts."""
        for start in range(0, len(self), BATCH):
            yield from self._batch(start, start + BATCH, names=["label"])["label"].to_pylist()

    def take(self, order: NDArray[np.int64]) -> ArrowRows:
        """Returns the rows at these positions, in this order. No text is copied."""
        return ArrowRows(self._columns, self._positions()[order])

    def with_labels(self, labels: Sequence[Label]) -> Sequence[Row]:
        """Returns the same rows with other labels; as a list if the labels fit no Arrow column."""
        if self._order is not None:  # the columns hold rows that are not in this sequence
            return gather(row._replace(label=label) for row, label in zip(self, labels, strict=True))
        column = _joined_labels([_label_array(labels[start : start + BATCH]) for start in range(0, len(labels), BATCH)])
        if column is None:
            return [row._replace(label=label) for row, label in zip(self, labels, strict=True)]
        return ArrowRows(self._columns.set_column(self._columns.column_names.index("label"), "label", column))

    def _positions(self) -> NDArray[np.int64]:
        import numpy as np

        return np.arange(len(self)) if self._order is None else self._order

    def _batch(self, start: int, stop: int, *, names: Sequence[str] = ("text", "pair", "label")) -> pa.Table:
        """Returns the rows between two positions; they are copied if they are not next to each other in the columns."""
        columns = self._columns.select(list(names))
        return columns.slice(start, stop - start) if self._order is None else _picked(columns, self._order[start:stop])


def gather(rows: Iterable[Row]) -> Sequence[Row]:
    """Reads rows into Arrow columns, a batch at a time.

    Returns:
        `ArrowRows`; or a list if there are fewer rows than a batch, or if the labels fit no Arrow column. Those are
        numbers mixed with words, which every task refuses, and integers of more than 64 bits.

    >>> rows = gather(Row(f"text {n}", None, n % 2) for n in range(25_000))
    >>> type(rows).__name__, len(rows), rows[-1]
    ('ArrowRows', 25000, Row(text='text 24999', pair=None, label=1))
    """
    source = iter(rows)
    batch = list(islice(source, BATCH))
    if len(batch) < BATCH:
        return batch
    # The batches are converted one by one, so that the Python objects of one batch exist at a time.
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
    """Yields the labels of rows, in their order."""
    return rows.labels() if isinstance(rows, ArrowRows) else (row.label for row in rows)


def with_labels(rows: Sequence[Row], labels: Sequence[Label]) -> Sequence[Row]:
    """Returns the same rows with these labels, (rows,)."""
    if isinstance(rows, ArrowRows):
        return rows.with_labels(labels)
    return [row._replace(label=label) for row, label in zip(rows, labels, strict=True)]


def take(rows: Sequence[Row], order: NDArray[np.int64]) -> Sequence[Row]:
    """Returns the rows at these positions, in this order."""
    return rows.take(order) if isinstance(rows, ArrowRows) else [rows[index] for index in order]


def _picked(columns: pa.Table, positions: NDArray[np.int64]) -> pa.Table:
    """Copies the rows at these positions out of the columns, in this order.

    `pyarrow.Table.take` would first join all pieces of a column, and so copy all of its text. Here each piece is taken
    from by itself, and the results, which are sorted by piece, are then brought into the given order.
    """
    import numpy as np
    import pyarrow as pa

    # Every piece but the last has BATCH rows, so a division tells the piece of a position.
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
    """Makes a column of int64, float64 or string; None if the labels fit none of these types."""
    import pyarrow as pa

    try:
        column = pa.array(labels)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
        return None
    if pa.types.is_string(column.type):
        return column.cast(pa.large_string())
    return column if column.type in (pa.int64(), pa.float64()) else None


def _joined_labels(pieces: Sequence[pa.Array | None]) -> pa.ChunkedArray | None:
    """Joins pieces to one column. Integers become floats if another piece holds floats; None if that loses digits."""
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
