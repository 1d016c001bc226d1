"""`bench compact`: turns a finished run into a model to deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compact(
    run: Annotated[Path, typer.Argument(help="The record of a run, OUT/runs/DIGEST.json.")],
    epsilon: Annotated[
        float,
        typer.Option(min=0, help="How far the score on the dev rows may fall when parts of the method are dropped."),
    ] = 0.01,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            help="A gate whose standard deviation over the dev rows is below this counts as constant: its mean is "
            "multiplied into the weights, and the gate is dropped.",
        ),
    ] = 0.01,
    into: Annotated[
        Path | None, typer.Option(help="Folder that the model is written to. [default: OUT/compact/DIGEST]")
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=1, help="Length of the one example whose FLOPs and time are measured, in tokens.")
    ] = 32,
) -> None:
    """Removes what a trained model does not need, saves the rest, and measures both.

    Parts of the method without which the dev score holds are dropped, and gates that are almost constant are folded
    into the weights. bench.load_compact loads the result in Python.
    """
    from bench.grid.worker import quiet
    from bench.parts.compaction import compact as make
    from bench.parts.compaction import record_of
    from bench.records.store import read_record
    from reports.columns.numerals import fixed, with_interval

    out, digest = record_of(run)
    quiet()
    folder = into or out / "compact" / digest
    compaction = make(out, read_record(run), folder, epsilon=epsilon, tolerance=tolerance, tokens=tokens)
    before, after = compaction.before, compaction.after
    plan = compaction.plan
    print(f"{plan.run.title}: {len(plan.dropped)} parts dropped, {len(plan.folded)} gates folded")
    if compaction.emptied:
        print(
            f"  warning: every part was dropped, only the head is left; on so few dev rows that may be chance: "
            f"compare the test scores below, or give a smaller --epsilon than {epsilon:g}"
        )
    time = compaction.after_time
    rows = (
        ("parameters", before.parameters, after.parameters, 0),
        ("stored bytes", before.stored_bytes, after.stored_bytes, 0),
        (f"FLOPs of 1 x {tokens}", before.forward_flops, after.forward_flops, 0),
        ("dev score", before.dev_score, after.dev_score, 4),
        ("test score", before.test_score, after.test_score, 4),
        (f"ms of 1 x {tokens}", compaction.before_time.p50_ms, time.p50_ms, 2),
    )
    for name, old, new, places in rows:
        print(f"  {name:<18} {fixed(old, places):>16} -> {fixed(new, places)}")
    wide = " (wide: measure again on a quieter machine)" if time.wide else ""
    print(f"  time after / before {with_interval(time.ratio, time.low, time.high)}{wide}")
    if before.dev_score is not None and after.dev_score is not None and after.dev_score < before.dev_score - epsilon:
        print(f"  the dev score fell by more than {epsilon:g}: folding took it there; try a lower --tolerance")
    if compaction.unmerged:
        print(f"  not merged: {compaction.unmerged}")
    print(f"  largest change of a dev logit {compaction.largest_change:.2e}")
    print(f"written: {folder}; load it with bench.load_compact({str(folder)!r})")
