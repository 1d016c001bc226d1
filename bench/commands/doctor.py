"""`bench doctor`: says what can be measured on this machine, and what can only be estimated."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects instead of a table.")] = False,
) -> None:
    """Lists what can be measured on this machine, what is estimated instead, and what to install or permit.

    The exit code is 0 if bench compare can run here, and 1 if it cannot.
    """
    import json
    from dataclasses import asdict

    from bench.doctor import examine

    findings = examine()
    runs = all(finding.state != "missing" for finding in findings if finding.vital)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title="What this machine measures", title_justify="left")
        for name in ("what", "state", "how", "remedy"):
            table.add_column(name, overflow="fold")
        for finding in findings:
            table.add_row(*map(Text, (finding.what, finding.state, finding.how, finding.remedy or "")))
        console = Console()
        console.print(table)
        console.print(f"The main job can{'' if runs else 'not'} run here.")
    sys.exit(0 if runs else 1)
