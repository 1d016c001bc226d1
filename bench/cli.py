"""The command line: `bench compare`, `report`, `export`, `list`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.config import Preset
    from bench.grid import Request

INTERRUPTED = 130

app = typer.Typer(
    help="Measures what a fine-tuning method costs and what it buys.",
    rich_markup_mode=None,  # so that lora[r=16] survives in help
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


def main() -> None:
    """The command `bench`: a user's error is one line and exit code 2."""
    try:
        check_import_names()
        app()
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)


def check_import_names() -> None:
    """Refuses to go on where another module has taken one of our import names.

    Raises:
        UserError: the name, and the file that took it.
    """
    from importlib.util import find_spec

    home = Path(__file__).resolve().parent.parent
    for name in ("tasks", "methods", "reports"):
        spec = find_spec(name)
        place = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if place is None or home not in place.parents:
            raise UserError(
                f"{place or name} stands in the place of tunebench's own {name}; rename or move it"
            )


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


@app.command()
def compare(
    methods: Methods = None,
    task: Tasks = None,
    model: Model = None,
    k: Sizes = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds, counted from 0.")] = None,
    data_seed: Annotated[int | None, typer.Option(min=0, help="One seed of the rows for all runs.")] = None,
    model_seed: Annotated[
        int | None, typer.Option(min=0, help="One seed of the training for all runs.")
    ] = None,
    preset: Annotated[str, typer.Option(help="What to start from: quick, smoke or unipelt.")] = "quick",
    out: Out = Path("out"),
    dev: Annotated[str | None, typer.Option(help="Rows that choose the checkpoint; k: as many as K.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, in place of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples in a training step.")] = None,
    eval_batch: Annotated[int | None, typer.Option(help="Examples in an evaluation batch.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens an example is cut to.")] = None,
    head: Annotated[str | None, typer.Option(help="mean, cls, last or native.")] = None,
    head_learning_rate: Annotated[str | None, typer.Option(help="The head's; none: the body's.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps with a rising rate.")] = None,
    patience: Annotated[
        str | None, typer.Option(help="Evaluations without a better score; none: never.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="float32, or bf16 on CUDA.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of torch.")] = None,
) -> None:
    """Trains and scores methods on tasks, and writes the table."""
    from bench.presets import PRESETS

    if preset not in PRESETS:
        from bench.plugins import near

        raise UserError(f"unknown preset {preset!r}{near(preset, PRESETS)}; there is {', '.join(PRESETS)}")
    base = PRESETS[preset]
    settings = {
        "dev": dev,
        "epochs": "none" if steps is not None and epochs is None else epochs,
        "steps": steps,
        "batch_size": batch,
        "eval_batch_size": eval_batch,
        "max_length": max_length,
        "head": head,
        "head_learning_rate": head_learning_rate,
        "warmup_share": warmup,
        "patience": patience,
        "precision": precision,
        "device": device,
        "threads": threads,
    }
    if None not in (seeds, data_seed, model_seed):
        raise UserError("--seeds, --data-seed and --model-seed: two of them leave nothing to vary; drop one")
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
        settings={name: value for name, value in settings.items() if value is not None},
    )
    _compare(request, out)


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
) -> Request:
    """The preset with what the options override."""
    from pydantic import ValidationError

    from bench.config import Protocol
    from bench.grid import Request

    values = {name: None if value == "none" else value for name, value in settings.items()}
    try:
        protocol = Protocol.model_validate({**base.protocol.model_dump(), **values})
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0]) if first["loc"] else "protocol"
        raise UserError(f"--{place.replace('_', '-')} {values.get(place, '')}: {first['msg']}") from error
    return Request(
        methods=tuple(methods or base.methods),
        tasks=tuple(tasks or base.tasks),
        model=model or base.model,
        ks=tuple(parse_sizes(ks)) if ks else base.ks,
        data_seeds=tuple(data_seeds),
        model_seeds=tuple(model_seeds),
        protocol=protocol,
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


def _compare(request: Request, out: Path) -> None:
    from bench.executor import LocalExecutor
    from bench.store import claimed

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's end is a Ctrl-C
    try:
        with claimed(out):
            executor = LocalExecutor()  # its server imports torch while this process checks and fetches
            from bench.grid import plan, run_grid

            for _ in run_grid(plan(request), out, executor):
                pass  # each record is on disk and has been shown
            _report(out)
    except KeyboardInterrupt as interrupt:
        print("bench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from interrupt


@app.command()
def report(out: Annotated[Path, typer.Argument(help="Folder of a comparison.")]) -> None:
    """Writes the tables of a comparison anew."""
    _report(out)


def _report(out: Path) -> None:
    from bench.store import read_records
    from reports.summary import show, write

    records = read_records(out)
    show(records)
    paths = write(records, out)
    print(f"written: {', '.join(str(path) for path in paths)}")


@app.command()
def export(out: Annotated[Path, typer.Argument(help="Folder of a comparison.")]) -> None:
    """Prints all records as JSON lines."""
    from bench.store import read_records

    for record in read_records(out):
        print(record.as_json())


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help="methods, tasks or models.")]) -> None:
    """Shows what can be named."""
    from bench.listing import LISTINGS

    if what not in LISTINGS:
        raise UserError(f"cannot list {what!r}; there is {', '.join(LISTINGS)}")
    for name, about in LISTINGS[what]():
        print(f"{name:<18} {about}".rstrip())


if __name__ == "__main__":
    main()
