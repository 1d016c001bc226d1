"""Every figure that a table or figure shows, as the meters declare it: label, unit, formula, meter, known error.

`docs/definitions.md`, the tables' footnotes, the page's hover texts and `bench report --columns` all read the
declarations in bench/meters. Print the document with `python -m reports.columns.document`.
"""

from __future__ import annotations

from bench.meters import columns
from bench.meters.column import GROUPS, Column

__all__ = ["BY_KEY", "COLUMNS", "GROUPS", "Column", "document"]

BY_KEY: dict[str, Column] = columns()

COLUMNS: tuple[Column, ...] = tuple(BY_KEY.values())


def document() -> str:
    """The text of `docs/definitions.md`."""
    from reports.columns.indices import KNOWN  # reads BY_KEY

    lines = [
        "# Definitions of every figure",
        "",
        "Made by `python -m reports.columns.document > docs/definitions.md`; the tables' footnotes and the page use the same",
        "text. A figure that was not measured is absent, never 0. The head is left out of every parameter count",
        "but its own. `better` says which way a figure counts for a method.",
    ]
    for group, title in GROUPS.items():
        members = [column for column in KNOWN.values() if column.group == group]
        if not members:
            continue
        lines += ["", f"## {title}"]
        for column in members:
            lines += [
                "",
                f"### {column.label}",
                "",
                f"`{column.key}`{f', in {column.unit}' if column.unit else ''}. {column.says}",
                "",
                f"- Formula: {column.formula}.",
                f"- Meter: {column.meter}{' **An estimate.**' if column.estimated else '.'}",
                f"- Known error: {column.error}.",
                f"- Better: {column.better or 'neither'}.",
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
