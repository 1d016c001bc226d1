"""`bench gates`: what the gates of a comparison's runs do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UserError


def gates(
    out: Annotated[Path, typer.Argument(help="Folder of a comparison with a gated method.")],
    method: Annotated[str | None, typer.Option(help="Which gated method; else the one with most runs.")] = None,
    examples: Annotated[int, typer.Option(min=2, help="Test rows looked at in each run.")] = 300,
) -> None:
    """Decomposes, correlates and intervenes on the gates of finished runs; writes OUT/gates."""
    from bench.gating.study import study
    from bench.store import claimed, gates_path, read_records, weights_path
    from bench.worker import quiet
    from reports.gates.write import write_gates

    records = read_records(out)
    gated = [r for r in records if r.status == "ok" and gates_path(out, r.digest).exists()]
    if not gated:
        raise UserError(f"{out} holds no run of a gated method; try bench compare --preset gates --out {out}")
    labels = [record.asked.method.label for record in gated]
    chosen = method or max(sorted(set(labels)), key=labels.count)
    runs = [record for record in gated if record.asked.method.label == chosen]
    if not runs:
        raise UserError(f"--method {method}: the gated methods in {out} are {', '.join(sorted(set(labels)))}")
    lost = [record for record in runs if not weights_path(out, record.digest).exists()]
    if lost:
        raise UserError(f"{lost[0].asked.title} kept no weights; run the comparison with --weights all")
    if len({(r.asked.k, r.asked.model.name, r.asked.protocol.model_dump_json()) for r in runs}) > 1:
        raise UserError(f"{out} holds runs of {chosen} at several K, models or protocols; study one folder each")
    quiet()
    with claimed(out):
        for number, (record, now) in enumerate(study(out, runs, examples=examples), start=1):
            print(f"[{number}/{len(runs)}] {record.asked.title}: {'studied' if now else 'was there'}", flush=True)
        paths = write_gates(out, records, chosen, examples=examples)
    print(f"written: {len(paths)} files in {out / 'gates'}, to be read from {out / 'gates' / 'gates.md'}")
