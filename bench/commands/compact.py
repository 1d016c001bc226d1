"""`bench compact`: a finished run as a model to deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compact(
    run: Annotated[Path, typer.Argument(help="A run's record, OUT/runs/DIGEST.json.")],
    epsilon: Annotated[float, typer.Option(min=0, help="How far the dev score may fall by dropping parts.")] = 0.01,
    tolerance: Annotated[
        float, typer.Option(min=0, help="A gate that varies less (standard deviation over dev rows) is folded in.")
    ] = 0.01,
    into: Annotated[Path | None, typer.Option(help="Folder to write; else OUT/compact/DIGEST.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Length of the example for FLOPs and latency.")] = 32,
) -> None:
    """Drops a run's idle parts, folds constant gates, saves the rest, and measures before and after."""
    from bench.grid.worker import quiet
    from bench.parts.compaction import compact as make
    from bench.parts.compaction import record_of
    from bench.records.store import read_record

    out, digest = record_of(run)
    quiet()
    folder = into or out / "compact" / digest
    found = make(out, read_record(run), folder, epsilon=epsilon, tolerance=tolerance, tokens=tokens)
    before, after = found.before, found.after
    print(f"{found.plan.run.title}: {len(found.plan.dropped)} parts dropped, {len(found.plan.folded)} gates folded")
    if found.emptied:
        print(
            f"  warning: every part was dropped, only the head is left; on so few dev rows that may be chance: "
            f"compare the test scores below, or give a smaller --epsilon than {epsilon:g}"
        )
    rows = (
        ("parameters", before.parameters, after.parameters, "{:,}"),
        ("stored bytes", before.stored_bytes, after.stored_bytes, "{:,}"),
        (f"FLOPs of 1 x {tokens}", before.forward_flops, after.forward_flops, "{:,}"),
        ("dev score", before.dev_score, after.dev_score, "{:.4f}"),
        ("test score", before.test_score, after.test_score, "{:.4f}"),
    )
    for name, old, new, form in rows:
        cells = ["-" if value is None else form.format(value) for value in (old, new)]
        print(f"  {name:<18} {cells[0]:>16} -> {cells[1]}")
    time = found.after_time
    print(f"  {f'ms of 1 x {tokens}':<18} {found.before_time.p50_ms:>16.2f} -> {time.p50_ms:.2f}")
    wide = " (wide: measure again on a quieter machine)" if time.wide else ""
    print(f"  time after / before {time.ratio:.3f} [{time.low:.3f}, {time.high:.3f}]{wide}")
    if before.dev_score is not None and after.dev_score is not None and after.dev_score < before.dev_score - epsilon:
        print(f"  the dev score fell by more than {epsilon:g}: folding took it there; try a lower --tolerance")
    if found.unmerged:
        print(f"  not merged: {found.unmerged}")
    print(f"  largest change of a dev logit {found.largest_change:.2e}")
    print(f"written: {folder}; load it with bench.load_compact({str(folder)!r})")
