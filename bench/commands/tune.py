"""`bench tune`: searches hyper-parameters as `bench compare --trials` does, without scoring on the test rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.compare import run_requests
from bench.commands.options import BASE, USUAL, meaning_of, option, takes
from bench.records.study import Study


@takes(BASE.protocol, BASE.measures)
def tune(
    methods: Annotated[list[str] | None, typer.Argument(help=meaning_of(Study, "methods"))] = None,
    trials: Annotated[str, option(USUAL, "trials")] = "12",
    searches: Annotated[str, option(USUAL, "searches")] = "1",
    tasks: Annotated[list[str] | None, option(USUAL, "tasks", "-t")] = None,
    model: Annotated[str | None, option(USUAL, "model", "-m")] = None,
    k: Annotated[list[str] | None, option(USUAL, "k")] = None,
    preset: Annotated[str | None, option(USUAL, "preset")] = None,
    on: Annotated[str | None, option(USUAL, "on")] = None,
    jobs: Annotated[str | None, option(USUAL, "jobs")] = None,
    config: Annotated[Path | None, typer.Option(help="A file of fields, as for bench compare.", metavar="FILE")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the records. [default: out]", show_default=False)] = Path("out"),
    **settings: Any,
) -> None:
    """Searches the learning rate of each method on the dev rows, and prints what it chose.

    The trials stay in the folder: bench compare --trials with the same fields goes on from there.
    """
    from bench.grid.request import requests_of

    typed = {"preset": preset, "methods": methods or None, "tasks": tasks or None, "model": model, "k": k or None}
    typed |= {"trials": trials, "searches": searches, "on": on, "jobs": jobs, **settings}
    given = {field: value for field, value in typed.items() if value not in (None, [])}
    run_requests(requests_of(given, config=config), out, None, choose_only=True)
