"""`bench gates`: studies the gates of the runs of a comparison."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UserError


def gates(
    out: Annotated[Path, typer.Argument(help="Folder of a comparison that has a method with gates, such as unipelt.")],
    method: Annotated[
        str | None, typer.Option(help="The method to study. [default: the gated method with the most runs]")
    ] = None,
    k: Annotated[
        str | None,
        typer.Option(
            "--k", help="The number of training rows of the runs, or all; needed only if the folder has several."
        ),
    ] = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(
            help="The seed of the runs, such as 0, or 0/1 for a data seed and a model seed. May be given several "
            "times. [default: every seed]"
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=2, help="How many test rows of each run are used; they are drawn with seed 0.")
    ] = 300,
) -> None:
    """Studies what the gates of finished runs respond to, and what changes if they are fixed.

    A gate is a factor, one number for each example, by which the output of a part of a method is multiplied. The
    study splits the variance of the gates by task, seed, layer and example, correlates them with properties of the
    texts, and scores the models again with gates that are fixed, shuffled or inverted. It is written to OUT/gates.
    """
    from bench.gates.selection import select
    from bench.gates.study import study_runs
    from bench.grid.worker import quiet
    from bench.records.store import claimed, read_records
    from bench.records.study import sizes_of
    from reports.gates.frames import load
    from reports.gates.write import write_gates

    sizes = None if k is None else sizes_of(k)
    if sizes is not None and len(sizes) > 1:
        raise UserError(f"--k {k}: give one size, or all; to study several sizes, run the command once for each")
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
