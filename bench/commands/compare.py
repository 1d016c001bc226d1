"""`bench compare`: the main job."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import UserError, escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.grid.plan import Plan, Request
    from bench.records.spec import Measures, Preset

FAILED = 1
INTERRUPTED = 130

MOST_SEEDS = 10_000
"""Of one comparison: all of its runs are listed before the first."""
LARGEST_SEED = 2**63 - 1
"""That torch's generators take."""

Methods = Annotated[
    list[str] | None,
    typer.Argument(help="Methods, such as full lora[r=16,alpha=32] my.py:Mine; else the preset's."),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", help="A task: a name, a folder, or file.py:NAME. Repeatable."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A name, a folder, a hub id, or a random shape (bench list models)."),
]
Sizes = Annotated[
    list[str] | None,
    typer.Option("--k", help="Training rows: a number, several by comma, or all. Repeatable."),
]
Out = Annotated[Path, typer.Option(help="Folder of the records and the report.")]


def compare(
    context: typer.Context,
    methods: Methods = None,
    task: Tasks = None,
    model: Model = None,
    k: Sizes = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds, counted from 0.")] = None,
    data_seed: Annotated[int | None, typer.Option(min=0, help="One seed of the rows for all runs.")] = None,
    model_seed: Annotated[int | None, typer.Option(min=0, help="One seed of the training for all runs.")] = None,
    preset: Annotated[str, typer.Option(help="What to start from: quick, smoke, gates or unipelt.")] = "quick",
    out: Out = Path("out"),
    dev: Annotated[str | None, typer.Option(help="Rows that choose the checkpoint; k: as many as K.")] = None,
    epochs: Annotated[str | None, typer.Option(help="Passes over the training rows.")] = None,
    steps: Annotated[str | None, typer.Option(help="Optimizer steps, in place of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples in a training step.")] = None,
    eval_batch: Annotated[int | None, typer.Option(help="Examples in an evaluation batch.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens an example is cut to.")] = None,
    head: Annotated[str | None, typer.Option(help="mean, cls, last or native; none: the model's.")] = None,
    head_learning_rate: Annotated[str | None, typer.Option(help="The head's; none: the body's.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps with a rising rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW's, for head and body.")] = None,
    max_gradient_norm: Annotated[str | None, typer.Option(help="The gradient is clipped to it; none: never.")] = None,
    evaluations: Annotated[str | None, typer.Option(help="Looks at the dev rows; none: after every epoch.")] = None,
    patience: Annotated[str | None, typer.Option(help="Evaluations without a better score; none: never.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, or bf16 on CUDA.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    threads: Annotated[str | None, typer.Option(help="CPU threads of torch; none: all.")] = None,
    costs: Annotated[bool | None, typer.Option(help="Measure FLOPs and memory of each run.")] = None,
    effective: Annotated[bool | None, typer.Option(help="Measure effective parameters of each run.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="How far the true accuracy may fall in `verified`.")] = None,
    energy: Annotated[bool | None, typer.Option(help="Meter energy.")] = None,
    country: Annotated[str | None, typer.Option(help="Three-letter code of the grid's country, for CO2e.")] = None,
    pue: Annotated[
        float | None, typer.Option(help="The data centre's PUE, for CO2e; joules are the machine's.")
    ] = None,
    resident: Annotated[bool | None, typer.Option(help="Measure the resident peak too.")] = None,
    weights: Annotated[str | None, typer.Option(help="Keep what is stored: none, small or all.")] = None,
    profile: Annotated[bool | None, typer.Option(help="Time the methods against each other.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of the profile.")] = None,
    allocator: Annotated[
        str | None, typer.Option(help="keep: malloc keeps the blocks a step frees; system: as the system has it.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Method that the others are compared with.")] = None,
) -> None:
    """Trains and scores methods on tasks, and writes the table."""
    from bench.presets import PRESETS

    if preset not in PRESETS:
        from bench.errors import near

        raise UserError(f"unknown preset {preset!r}{near(preset, PRESETS)}; there is {', '.join(PRESETS)}")
    base = PRESETS[preset]
    _check_seeds(seeds=seeds, data_seed=data_seed, model_seed=model_seed)
    count = base.seeds if seeds is None else seeds
    if data_seed is not None and model_seed is not None:
        count = 1
    request = _request(
        base,
        methods=methods,
        tasks=task,
        model=model,
        ks=k,
        data_seeds=[seed if data_seed is None else data_seed for seed in range(count)],
        model_seeds=[seed if model_seed is None else model_seed for seed in range(count)],
        settings=protocol_settings(context.params),
        measures=_measures(
            base.measures,
            costs=costs,
            effective=effective,
            epsilon=epsilon,
            energy=energy,
            country=country,
            pue=pue,
            resident=resident,
            weights=weights,
            profile=profile,
            profile_rounds=rounds,
            allocator=allocator,
        ),
    )
    _compare(request, out, baseline)


def _check_seeds(*, seeds: int | None, data_seed: int | None, model_seed: int | None) -> None:
    if None not in (seeds, data_seed, model_seed):
        raise UserError("--seeds, --data-seed and --model-seed: two of them leave nothing to vary; drop one")
    if seeds is not None and seeds > MOST_SEEDS:
        raise UserError(f"--seeds {seeds}: a comparison has at most {MOST_SEEDS:,} seeds")
    for option, seed in (("--data-seed", data_seed), ("--model-seed", model_seed)):
        if seed is not None and seed > LARGEST_SEED:
            raise UserError(f"{option} {seed}: the largest seed is {LARGEST_SEED}")


def protocol_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol's fields that the options of `compare` set, `none` as the word.

    Args:
        given: every option by its parameter's name; None where it was not given.
    """
    from bench.records.spec import Protocol, option_of

    options = {field: given[option_of(field)[2:].replace("-", "_")] for field in Protocol.model_fields}
    settings = {field: value for field, value in options.items() if value is not None}
    for one, other in (("epochs", "steps"), ("steps", "epochs")):  # either takes the place of the preset's other
        if settings.get(one, "none") != "none":
            settings.setdefault(other, "none")
    return settings


def _measures(base: Measures, **asked: Any) -> Measures:
    """The preset's measures with what the options override."""
    from pydantic import ValidationError

    from bench.records.spec import Measures, option_of

    values = {name: value for name, value in asked.items() if value is not None}
    try:
        return Measures.model_validate({**base.model_dump(), **values})
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0])
        raise UserError(f"{option_of(place)} {values.get(place, '')}: {first['msg']}") from error


def _request(
    base: Preset,
    *,
    methods: list[str] | None,
    tasks: list[str] | None,
    model: str | None,
    ks: list[str] | None,
    data_seeds: list[int],
    model_seeds: list[int],
    settings: dict[str, Any],
    measures: Measures,
) -> Request:
    """The preset with what the options override."""
    from pydantic import ValidationError

    from bench.grid.plan import Request
    from bench.records.spec import Protocol, nullable, option_of

    values = {name: None if value == "none" and nullable(name) else value for name, value in settings.items()}
    try:
        protocol = Protocol.model_validate({**base.protocol.model_dump(), **values})
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise UserError(f"--epochs and --steps: {first['ctx']['error']}") from error
        place = str(first["loc"][0])
        raise UserError(f"{option_of(place)} {values[place]}: {first['msg']}") from error
    return Request(
        methods=tuple(methods or base.methods),
        tasks=tuple(tasks or base.tasks),
        model=model or base.model,
        ks=tuple(parse_sizes(ks)) if ks else base.ks,
        data_seeds=tuple(data_seeds),
        model_seeds=tuple(model_seeds),
        protocol=protocol,
        measures=measures,
        method_defaults=base.method_defaults,
    )


def parse_sizes(texts: list[str]) -> list[int | None]:
    """`100,500` and `all` (None) as numbers of rows, each once.

    Raises:
        UserError: something else.
    """
    found: list[int | None] = []
    for text in ",".join(texts).split(","):
        size = None if text.strip() == "all" else int(text) if text.strip().isdigit() else 0
        if size == 0:
            raise UserError(f"--k {text}: a positive number of training rows, or all")
        if size not in found:
            found.append(size)
    return found


def _compare(request: Request, out: Path, baseline: str | None) -> None:
    from bench.commands.report import write_report
    from bench.grid.executor import LocalExecutor
    from bench.records.store import claimed

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's end is a Ctrl-C
    failed = 0
    try:
        with claimed(out):
            executor = LocalExecutor()  # its server imports torch while this process checks and fetches
            from bench.grid.plan import plan, profile_job, run_grid

            todo = plan(request)
            _check_baseline(baseline, todo, out)
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
            write_report([out], baseline=baseline)
    except KeyboardInterrupt as interrupt:
        print("bench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from interrupt
    if failed:
        print(f"bench: {failed} of {len(todo.runs)} runs failed; the report gives the reasons", file=sys.stderr)
        raise typer.Exit(FAILED)


def _check_baseline(baseline: str | None, todo: Plan, out: Path) -> None:
    """Refuses a baseline before anything is trained that no run of the report can be of."""
    from bench.errors import near
    from bench.records.store import read_records, runs_folder

    if baseline is None:
        return
    known = {run.method.label for run in todo.runs}
    if any(runs_folder(out).glob("*.json")):
        known |= {record.asked.method.label for record in read_records(out)}
    if baseline.partition(" (")[0] not in known:  # a report may add in brackets what variants of a label differ in
        listed = ", ".join(sorted(known))
        raise UserError(f"--baseline {baseline}: no run is of that method{near(baseline, known)}; there is {listed}")
