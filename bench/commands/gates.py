"""`bench gates`: what the gates of a comparison's runs do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UserError


def gates(
    out: Annotated[Path, typer.Argument(help="Folder of a comparison with a gated method.")],
    method: Annotated[str | None, typer.Option(help="Which gated method; else the one with most runs.")] = None,
    k: Annotated[str | None, typer.Option("--k", help="Runs of which K, or all; if the folder has several.")] = None,
    seed: Annotated[
        list[str] | None, typer.Option(help="Runs of which seed, such as 0, or 0/1 (data/model). Repeatable.")
    ] = None,
    examples: Annotated[int, typer.Option(min=2, help="Test rows looked at in each run, drawn with seed 0.")] = 300,
) -> None:
    """Decomposes, correlates and intervenes on the gates of finished runs; writes OUT/gates."""
    from bench.gates.selection import select
    from bench.gates.study import study_runs
    from bench.grid.worker import quiet
    from bench.records.store import claimed, read_records
    from bench.records.study import sizes_of
    from reports.gates.frames import load
    from reports.gates.write import write_gates

    sizes = None if k is None else sizes_of(k)
    if sizes is not None and len(sizes) > 1:
        raise UserError(f"--k {k}: one size, or all; gates at several K are several studies")
    records = read_records(out)
    chosen = select(out, records, method=method, ks=sizes, seeds=seed or ())
    for line in chosen.left_out:
        print(f"left out: {line}", file=sys.stderr)
    quiet()
    files = {}
    with claimed(out):
        for number, done in enumerate(study_runs(out, chosen.runs, examples=examples), start=1):
            state = "studied" if done.now else "was there"
            print(f"[{number}/{len(chosen.runs)}] {done.record.asked.title}: {state}", flush=True)
            files[done.record.digest] = done.files
        study = load(chosen.runs, records, files, examples=examples, left_out=chosen.left_out)
        paths = write_gates(out, study)
    print(f"written: {len(paths)} files in {out / 'gates'}, to be read from {out / 'gates' / 'gates.md'}")
