"""`bench inspect`: counts parameters and FLOPs before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.options import takes
from bench.records.spec import Protocol
from bench.records.study import checked

if TYPE_CHECKING:
    from bench.costs.inspect import Inspection
    from reports.tables.table import Table


@takes(Protocol(), only=("head",))
def inspect(
    methods: Annotated[list[str], typer.Argument(help="Methods to count, such as full lora[r=16] my.py:Mine.")],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="A name (bench list models), a model of the hub, a folder, or a config.json alone."
        ),
    ] = "minilm-l6",
    batch: Annotated[int, typer.Option(min=1, help="Examples in the batch whose FLOPs are counted.")] = 1,
    tokens: Annotated[int, typer.Option(min=1, help="Length of that batch, in tokens, padding included.")] = 128,
    outputs: Annotated[
        int, typer.Option(min=1, help="Outputs of the head: the number of classes, or 1 for a regression.")
    ] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects instead of a table.")] = False,
    **settings: Any,
) -> None:
    """Counts the parameters, bytes and FLOPs of methods on a model. No weights are loaded.

    The FLOPs of the forward pass are counted twice, by FlopCounterMode of torch and by the package fvcore, and the
    table shows the difference.
    """
    import json
    import sys

    from bench.costs.inspect import inspect as count
    from bench.registry.methods import resolve_method

    protocol = checked(Protocol, {field: value for field, value in settings.items() if value is not None})
    resolved = [resolve_method(text) for text in methods]
    rows = count(resolved, model, head=protocol.head, outputs=outputs, batch=batch, tokens=tokens)
    if as_json:
        print(json.dumps([row.model_dump(exclude={"reason", "note"}) for row in rows], indent=1))
        for row in rows:
            for remark in filter(None, (row.reason, row.note)):
                print(f"{row.method}: {remark}", file=sys.stderr)
        return
    from reports.formats.text import terminal

    uncounted = sorted({name for row in rows for name in row.unsupported_operators})
    remarks = [f"{row.method}: {remark}" for row in rows for remark in (row.reason, row.note) if remark]
    if any(row.difference for row in rows):
        remarks.append("The two counts of the forward pass (torch's FlopCounterMode, fvcore) see different work.")
    if uncounted:
        remarks.append(f"Not in the FLOPs (2 a multiply-add): {', '.join(uncounted)}.")
    terminal([_table(rows, f"{model}, batch {batch} x {tokens} tokens")], remarks)


def _table(rows: Sequence[Inspection], title: str) -> Table:
    from reports.tables.table import Cell, Head, Table

    counted = ("trained", "stored", "head", "backbone", "stored bytes")
    names = (*counted, "forward GFLOPs", "by fvcore", "difference", "train step GFLOPs")
    lines = []
    for row in rows:
        counts = (row.trained_parameters, row.stored_parameters, row.head_parameters, row.backbone_parameters)
        cells = [*map(_whole, (*counts, row.stored_bytes)), *map(_giga, (row.forward_flops, row.forward_flops_fvcore))]
        cells += [_whole(row.difference), _giga(row.train_step_flops)]
        lines.append((Cell(row.method), *map(Cell, cells)))
    return Table("inspect", title, (Head("method", numeric=False), *map(Head, names)), tuple(lines))


def _whole(count: int | None) -> str:
    from reports.columns.numerals import fixed

    return fixed(count, 0)


def _giga(flops: int | None) -> str:
    from reports.columns.numerals import fixed

    return fixed(None if flops is None else flops / 1e9)
