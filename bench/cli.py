"""The command `bench`. Its subcommands are in `bench.commands`, one file each.

They import torch and other large packages within functions, so that `bench --help` takes a fraction of a second.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UserError, escaped


def main() -> None:
    """Runs the command. A mistake of the user ends it with one line and exit code 2."""
    try:
        check_import_names()  # first, because the subcommands import modules with these names
        program()()
    except UserError as error:
        print(f"bench: {escaped(str(error))}", file=sys.stderr)
        sys.exit(2)


def check_import_names() -> None:
    """Checks that `import tasks`, `import methods` and `import reports` find tunebench's modules.

    Raises:
        UserError: another module has one of these names, such as a `tasks.py` in the current folder.
    """
    from importlib.util import find_spec

    home = Path(__file__).resolve().parent.parent
    # These names are common, and Python searches the current folder first.
    for name in ("tasks", "methods", "reports"):
        spec = find_spec(name)
        place = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if place is None or home not in place.parents:
            raise UserError(f"{place or name} stands in the place of tunebench's own {name}; rename or move it")


def program() -> typer.Typer:
    """Builds the command with all of its subcommands."""
    from bench.commands.check import check
    from bench.commands.compact import compact
    from bench.commands.compare import compare
    from bench.commands.doctor import doctor
    from bench.commands.gates import gates
    from bench.commands.inspect import inspect
    from bench.commands.new import new
    from bench.commands.profile import profile
    from bench.commands.report import export, list_, report
    from bench.commands.tune import tune

    app = typer.Typer(
        help="Measures what a fine-tuning method costs and what it buys.",
        rich_markup_mode=None,  # so that lora[r=16] survives in help
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=True,
    )
    app.callback()(_with_version)
    app.command("compare")(compare)
    app.command("tune")(tune)
    app.command("report")(report)
    app.command("inspect")(inspect)
    app.command("profile")(profile)
    app.command("gates")(gates)
    app.command("compact")(compact)
    app.command("doctor")(doctor)
    app.command("export")(export)
    app.command("list")(list_)
    app.command("check")(check)
    app.add_typer(new, name="new")
    return app


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    from bench.environment import commit

    try:
        number = version("tunebench")
    except PackageNotFoundError:  # it may run from its folder
        number = "not installed"
    print(f"tunebench {number}{f' ({commit()})' if commit() else ''}")
    raise typer.Exit


def _with_version(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
