"""`bench compare`: trains, scores and measures methods, and writes the report."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.options import BASE, USUAL, meaning_of, option, takes
from bench.errors import UserError, escaped
from bench.records.study import CONFIG, Study

if TYPE_CHECKING:
    from bench.grid.executors.executor import Executor
    from bench.grid.plan import Plan, Request
    from bench.records.store import RecordFolder

FAILED = 1
INTERRUPTED = 130


@takes(BASE.protocol, BASE.measures)
def compare(
    methods: Annotated[list[str] | None, typer.Argument(help=meaning_of(Study, "methods"))] = None,
    tasks: Annotated[list[str] | None, option(USUAL, "tasks", "-t")] = None,
    model: Annotated[str | None, option(USUAL, "model", "-m")] = None,
    k: Annotated[list[str] | None, option(USUAL, "k")] = None,
    seeds: Annotated[str | None, option(USUAL, "seeds")] = None,
    data_seed: Annotated[str | None, option(USUAL, "data_seed")] = None,
    model_seed: Annotated[str | None, option(USUAL, "model_seed")] = None,
    preset: Annotated[str | None, option(USUAL, "preset")] = None,
    trials: Annotated[str | None, option(USUAL, "trials")] = None,
    searches: Annotated[str | None, option(USUAL, "searches")] = None,
    on: Annotated[str | None, option(USUAL, "on")] = None,
    jobs: Annotated[str | None, option(USUAL, "jobs")] = None,
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
        str | None,
        typer.Option(
            help="The method that the others are compared with. [default: the one that stores the most parameters]",
            metavar="METHOD",
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Trains and scores methods on tasks, measures what they cost, and writes the report.

    Records of finished runs stay in the folder: the same command continues an interrupted comparison, and runs that are
    there are not done again. Without options this is the preset quick, which takes minutes on two cores.
    """
    from bench.grid.request import requests_of

    typed = {"preset": preset, "methods": methods or None, "tasks": tasks or None, "model": model, "k": k or None}
    typed |= {"seeds": seeds, "data_seed": data_seed, "model_seed": model_seed, "on": on, "jobs": jobs}
    typed |= {"trials": trials, "searches": searches, **settings}
    given = {field: value for field, value in typed.items() if value not in (None, [])}
    run_requests(requests_of(given, config=config), out, baseline)


def run_requests(requests: Sequence[Request], out: Path, baseline: str | None, *, choose_only: bool = False) -> None:
    """Does what is asked for and reports it, or says what a search chose; ends the program where a run failed."""
    from bench.commands.report import show_choices, write_report
    from bench.records.store import claimed

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's end is a Ctrl-C
    try:
        with claimed(out) as folder:
            failed, runs = carry_out(requests, folder, baseline=baseline, choose_only=choose_only)
            if choose_only:
                show_choices(folder.records())
            else:
                write_report([out], baseline=baseline, records=folder.records())
    except KeyboardInterrupt as interrupt:
        print("bench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from interrupt
    if failed:
        print(f"bench: {failed} of {runs} runs failed; the report gives the reasons", file=sys.stderr)
        raise typer.Exit(FAILED)


def carry_out(
    requests: Sequence[Request], folder: RecordFolder, *, baseline: str | None = None, choose_only: bool = False
) -> tuple[int, int]:
    """Does all runs and profiles that are asked for and not there yet, and notes in the folder what was asked.

    Args:
        requests: one after another.
        folder: where the records go; the caller has claimed it.
        baseline: a method's label, which some run has to be of.
        choose_only: does the trials of a search, and leaves out the runs with what it chose.

    Returns:
        How many runs failed now, and how many were asked for.

    Raises:
        UserError: the first thing that is wrong with any of the requests, before the first run.
    """
    from bench.grid.plan import plan, profile_job
    from bench.grid.request import study_of
    from bench.grid.schedule import refuse_unsuited, run_grid, run_profile
    from bench.records.study import add_study
    from bench.registry.executors import make_executor

    with ExitStack() as open_executors:
        executors: dict[tuple[str, int], Executor] = {}
        for request in requests:
            place = request.on, request.jobs
            if place not in executors:  # first of all: one may import torch while this process checks and fetches
                executors[place] = open_executors.enter_context(make_executor(request.on, jobs=request.jobs))
        plans = [plan(request) for request in requests]
        _check_baseline(baseline, plans, folder)
        for request, todo in zip(requests, plans, strict=True):
            refuse_unsuited(todo, executors[request.on, request.jobs])
        for request in requests:
            add_study(folder.out / CONFIG, study_of(request))
        failed = 0
        for request, todo in zip(requests, plans, strict=True):
            executor = executors[request.on, request.jobs]
            for remark in todo.remarks:
                print(f"bench: {escaped(remark)}", file=sys.stderr)
            for phase in _phases(request, todo, folder, choose_only=choose_only):
                for record in run_grid(phase, folder, executor):  # each record is on disk and has been shown
                    failed += record.status == "failed" and not record.asked.is_trial  # a trial may fail
            if not choose_only and (job := profile_job(todo, folder)) is not None:
                print(f"profile of {job.shape.model}: {len(job.methods)} methods in {job.shape.rounds} rounds")
                try:
                    run_profile(job, folder, executor)
                except UserError as error:  # the runs are worth their report without it
                    print(f"bench: {escaped(str(error))}", file=sys.stderr)
    return failed, sum(len(todo.runs) for todo in plans)


def _phases(request: Request, todo: Plan, folder: RecordFolder, *, choose_only: bool) -> Iterator[Plan]:
    """What is done one after another: the runs that are asked for, or with a search its trials before them."""
    if request.trials is None:
        return iter([todo])
    from bench.tuning.search import Budget, phases

    budget = Budget(request.trials, request.searches or len(request.data_seeds))
    return phases(todo, budget, folder.by_digest, choose_only=choose_only)


def _check_baseline(baseline: str | None, plans: Sequence[Plan], folder: RecordFolder) -> None:
    """Refuses a baseline before anything is trained that no run of the report can be of."""
    from bench.errors import near

    if baseline is None:
        return
    labels = {run.method.label for todo in plans for run in todo.runs}
    labels |= {record.asked.method.label for record in folder.records()}
    if baseline.partition(" (")[0] not in labels:  # a report may add in brackets what variants of a label differ in
        listed = ", ".join(sorted(labels))
        raise UserError(f"--baseline {baseline}: no run is of that method{near(baseline, labels)}; there is {listed}")
