"""`bench doctor`: what this machine measures and what it can only estimate."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects in place of the table.")] = False,
) -> None:
    """Says, meter by meter, what is measured here, what is estimated, and what to install or permit.

    Exit code 0 where the main job can run, 1 where it cannot.
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
