"""`bench compare`: the main job."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.options import BASE, USUAL, described, option, takes
from bench.errors import UserError, escaped
from bench.records.study import CONFIG, Study

if TYPE_CHECKING:
    from bench.grid.executor import LocalExecutor
    from bench.grid.plan import Plan, Request

FAILED = 1
INTERRUPTED = 130


@takes(BASE.protocol, BASE.measures)
def compare(
    methods: Annotated[list[str] | None, typer.Argument(help=described(Study, "methods"))] = None,
    tasks: Annotated[list[str] | None, option(USUAL, "tasks", "-t")] = None,
    model: Annotated[str | None, option(USUAL, "model", "-m")] = None,
    k: Annotated[list[str] | None, option(USUAL, "k")] = None,
    seeds: Annotated[str | None, option(USUAL, "seeds")] = None,
    data_seed: Annotated[str | None, option(USUAL, "data_seed")] = None,
    model_seed: Annotated[str | None, option(USUAL, "model_seed")] = None,
    preset: Annotated[str | None, option(USUAL, "preset")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help=f"A YAML or JSON file of fields (docs/options.md), such as the {CONFIG} of an earlier comparison. "
            "Options override it.",
            metavar="FILE",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the records and the report. [default: out]", show_default=False)
    ] = Path("out"),
    baseline: Annotated[
        str | None, typer.Option(help="Method that the others are compared with.", metavar="METHOD")
    ] = None,
    **settings: Any,
) -> None:
    """Trains and scores methods on tasks, and writes the table."""
    from bench.grid.request import requests_of

    typed = {"preset": preset, "methods": methods or None, "tasks": tasks or None, "model": model, "k": k or None}
    typed |= {"seeds": seeds, "data_seed": data_seed, "model_seed": model_seed, **settings}
    given = {field: value for field, value in typed.items() if value not in (None, [])}
    _compare(requests_of(given, config=config), out, baseline)


def _compare(requests: Sequence[Request], out: Path, baseline: str | None) -> None:
    from bench.commands.report import write_report
    from bench.grid.executor import LocalExecutor
    from bench.records.store import claimed

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's end is a Ctrl-C
    try:
        with claimed(out):
            executor = LocalExecutor()  # its server imports torch while this process checks and fetches
            failed, runs = carry_out(requests, out, executor, baseline=baseline)
            write_report([out], baseline=baseline)
    except KeyboardInterrupt as interrupt:
        print("bench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from interrupt
    if failed:
        print(f"bench: {failed} of {runs} runs failed; the report gives the reasons", file=sys.stderr)
        raise typer.Exit(FAILED)


def carry_out(
    requests: Sequence[Request], out: Path, executor: LocalExecutor, *, baseline: str | None = None
) -> tuple[int, int]:
    """Does all runs and profiles that are asked for and not there yet, and notes in the folder what was asked.

    Args:
        requests: one after another.
        out: the folder, which the caller has claimed.
        executor: does the runs.
        baseline: a method's label, which some run has to be of.

    Returns:
        How many runs failed now, and how many were asked for.

    Raises:
        UserError: the first thing that is wrong with any of the requests, before the first run.
    """
    from bench.grid.plan import plan, profile_job, run_grid
    from bench.grid.request import study_of
    from bench.records.study import add_study

    plans = [plan(request) for request in requests]
    _check_baseline(baseline, plans, out)
    for request in requests:
        add_study(out / CONFIG, study_of(request))
    failed = 0
    for todo in plans:
        for remark in todo.remarks:
            print(f"bench: {escaped(remark)}", file=sys.stderr)
        for record in run_grid(todo, out, executor):  # each record is on disk and has been shown
            failed += record.status == "failed"
        if (job := profile_job(todo, out)) is not None:
            print(f"profile of {job.shape.model}: {len(job.methods)} methods in {job.shape.rounds} rounds")
            try:
                executor.profile(job, out)
            except UserError as error:  # the runs are worth their report without it
                print(f"bench: {escaped(str(error))}", file=sys.stderr)
    return failed, sum(len(todo.runs) for todo in plans)


def _check_baseline(baseline: str | None, plans: Sequence[Plan], out: Path) -> None:
    """Refuses a baseline before anything is trained that no run of the report can be of."""
    from bench.errors import near
    from bench.records.store import read_records, runs_folder

    if baseline is None:
        return
    known = {run.method.label for todo in plans for run in todo.runs}
    if any(runs_folder(out).glob("*.json")):
        known |= {record.asked.method.label for record in read_records(out)}
    if baseline.partition(" (")[0] not in known:  # a report may add in brackets what variants of a label differ in
        listed = ", ".join(sorted(known))
        raise UserError(f"--baseline {baseline}: no run is of that method{near(baseline, known)}; there is {listed}")
