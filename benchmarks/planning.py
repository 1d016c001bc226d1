"""How long a large comparison takes to plan, and how much memory: everything before the first run is submitted.

    python -m benchmarks.planning --methods 50 --tasks 20 --seeds 100 --records 2000

It plans methods x tasks x seeds runs on a tiny model, against a folder that holds records of some of them, by the
functions that `bench compare` calls; no run is done. The tasks are folders of a few rows.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bench.grid.plan import Plan, Request, plan, profile_job, refuse_other_meanings
from bench.records.spec import Measures, Protocol
from bench.records.store import RecordFolder, write_record
from benchmarks.records import records

ROWS = 12


def main(
    methods: Annotated[int, typer.Option(min=1, help="How many: lora at so many ranks.")] = 50,
    tasks: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Of each method on each task.")] = 100,
    count: Annotated[int, typer.Option("--records", min=0, help="Records in the folder, of planned runs.")] = 2000,
) -> None:
    """Prints seconds and peak memory of planning."""
    with TemporaryDirectory() as place:
        folders = list(_tasks(Path(place), tasks))
        request = Request(
            methods=tuple(f"lora[r={rank}]" for rank in range(1, methods + 1)),
            tasks=tuple(map(str, folders)),
            model="tiny",
            ks=(8,),
            data_seeds=tuple(range(seeds)),
            model_seeds=tuple(range(seeds)),
            protocol=Protocol(dev=2, max_length=32),
            measures=Measures(weights="none"),
        )
        out = Path(place) / "out"
        _fill(out, plan(request), count)
        before = _peak_mb()
        with _timed("all"):
            with _timed("plan"):
                todo = plan(request)
            folder = RecordFolder(out)
            with _timed("read records"):
                folder.records()
            with _timed("what is done, by digest"):
                refuse_other_meanings(todo, folder)
                done = folder.finished(todo.measures)
                left = [run for run in todo.runs if run.digest not in done]
            with _timed("settings and profile"):
                settings = {run.seedless_digest for run in left}
                profile_job(todo, folder)
        print(f"{len(todo.runs)} runs planned, {len(done)} done, {len(left)} left, of {len(settings)} settings")
        print(
            f"peak memory {_peak_mb():.0f} MB; {before:.0f} MB before planning, imports and the made-up folder included"
        )


def _tasks(place: Path, count: int) -> Iterator[Path]:
    for number in range(count):
        folder = place / f"task{number}"
        folder.mkdir()
        rows = [json.dumps({"text": f"row {row} of task {number}", "label": "ab"[row % 2]}) for row in range(ROWS)]
        for name in ("train", "validation"):
            (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
        yield folder


def _fill(out: Path, todo: Plan, count: int) -> None:
    """Writes records of planned runs, with all the figures that a record can hold."""
    (made,) = records(methods=("lora",), tasks=("trec",), seeds=1)
    for run in todo.runs[:count]:
        write_record(out, made.model_copy(update={"digest": run.digest, "asked": run}))


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began, spent = time.perf_counter(), time.process_time()
    yield
    print(f"{what:<24} {time.perf_counter() - began:6.2f} s, {time.process_time() - spent:6.2f} s of the processor")


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    typer.run(main)
