"""The page: one file that opens offline, asks the network for nothing, and takes no text for markup."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records.store import Record
from reports.columns.document import GROUPS, Column
from reports.columns.indices import KNOWN
from reports.columns.numerals import heading, scale_of
from reports.frame.estimates import Estimate
from reports.frame.panels import OVERALL, Panel
from reports.tables.table import figure_cell, shortened

if TYPE_CHECKING:
    from reports.figures.draw import Drawn
    from reports.report import Report

LIMIT_BYTES = 6_000_000
ROWS_SHOWN = 400
"""Rows that a table of the page shows; the CSV files have all."""
PLAIN_CSV_BYTES = 200_000
"""Larger downloads are compressed."""


def page(
    report: Report,
    *,
    files: Mapping[str, str],
    figures: Sequence[Drawn] = (),
    command: str | None = None,
) -> str:
    """The whole page as HTML, at most 6 MB: what has no room is left out and named.

    Args:
        report: whose sections are shown; `gates/` in its folders is shown too.
        files: CSV files and the comparison's file by name, offered as downloads.
        figures: SVG files to embed, each with what it says and the panel that it is shown with.
        command: that redoes it; None: put together from the records.
    """
    from reports.formats.gates_section import gate_figures
    from reports.frame.environment import commands, environments
    from reports.gates.table import stored_tables

    panels, records, outs = report.panels, report.scored, report.outs
    known = _definitions(panels)
    used = [known[key] for key in known if any(key == "score" or key in panel.figures for panel in panels)]
    context: dict[str, Any] = {
        "title": f"Comparison: {', '.join(out.resolve().name for out in outs)}",
        "sections": [
            replace(part, tables=tuple(shortened(table, ROWS_SHOWN, "table.csv") for table in part.tables))
            for part in report.sections
        ],
        "published": report.published,
        "definitions": [(GROUPS[group], [column for column in used if column.group == group]) for group in GROUPS],
        "environments": environments(records),
        "commands": [command] if command else commands(records),
        "data": plot_data(panels, records),
        "downloads": [_download(name, text) for name, text in files.items()],
        "figures": [_figure(*figure) for figure in figures],
        "gate_figures": [gate for out in outs for gate in gate_figures(out)],
        "gate_tables": [
            shortened(table, ROWS_SHOWN, f"gates/{table.key}.csv")
            for out in outs
            for table in stored_tables(out / "gates")
        ],
        "left_out": [],
    }
    text = _render(context)
    dispensable = {
        "figures": "the figures (see figures/)",
        "gate_figures": "the gate figures (see gates/)",
        "downloads": "the files (see table.csv, runs.csv and config.yaml)",
    }
    for name, words in dispensable.items():
        if len(text.encode()) <= LIMIT_BYTES:
            break
        context[name] = []
        context["left_out"].append(words)
        text = _render(context)
    return text


def _render(context: dict[str, Any]) -> str:
    """The template with its style and script inlined; the script's digest is the only one allowed to run."""
    from jinja2 import BaseLoader, Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # figures and methods have their order
    source = resources.files("reports") / "templates"
    template, style, plot, rest = (
        (source / name).read_text("utf-8") for name in ("page.html.j2", "page.css", "plot.js", "page.js")
    )
    script = plot + rest
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(template).render(
        **context,
        style=Markup(style),
        script=Markup(script),
        script_digest=digest,
    )


def _download(name: str, text: str) -> dict[str, str]:
    """A text file as a link that holds it."""
    raw = text.encode()
    kind = "text/csv" if name.endswith(".csv") else "text/plain"
    if len(raw) > PLAIN_CSV_BYTES:
        raw, name, kind = gzip.compress(raw, mtime=0), f"{name}.gz", "application/gzip"
    link = f"data:{kind};base64,{base64.b64encode(raw).decode()}"
    return {"name": name, "link": link, "size": f"{len(raw) / 1000:,.0f} kB"}


def _figure(path: Path, says: str, setting: int | None = None) -> dict[str, Any]:
    data = base64.b64encode(path.read_bytes()).decode()
    return {"link": f"data:image/svg+xml;base64,{data}", "says": says, "name": path.stem, "setting": setting}


def plot_data(panels: list[Panel], records: Sequence[Record]) -> dict[str, Any]:
    """What the interactive plot needs, rounded to 6 digits: figures, methods, axes and points by panel and place.

    The front is not among it: the script finds that of the methods that the reader leaves on, as `front_members` does.
    """
    from reports.figures.style import looks
    from reports.frame.frame import unique_labels

    names = list(dict.fromkeys(method for panel in panels for method in panel.methods))
    style, used = looks(names), ["score", *{key: None for panel in panels for key in panel.figures}]
    known, fields = _definitions(panels), dict[str, str]()
    for record, label in zip(records, unique_labels(records), strict=True):
        if label not in fields:
            fields[label] = ", ".join(f"{name}={value}" for name, value in record.asked.method.fields.items())
    return {
        "figures": {key: _axis(known[key]) for key in used if key in known and not known[key].estimated},
        "methods": {
            name: {
                "colour": style[name].colour,
                "dark": style[name].dark,
                "marker": style[name].marker,
                "fields": fields.get(name, ""),
            }
            for name in names
        },
        "panels": [
            {
                "title": panel.title,
                "places": [_place(panel, place) for place in panel.places],
            }
            for panel in panels
        ],
    }


def _definitions(panels: Sequence[Panel]) -> dict[str, Column]:
    """Key -> column of the figures of any panel."""
    return KNOWN | {key: column for panel in panels for key, column in panel.definitions.items()}


def _axis(column: Column) -> dict[str, Any]:
    return {"label": column.label, "better": column.better}


def _place(panel: Panel, place: str) -> dict[str, Any]:
    metric = panel.headlines.get(place, "")
    name = f"mean of {len(panel.columns)} tasks" if place == OVERALL else place
    name = f"{name} ({metric})" if metric else name
    points = {method: _estimates(panel, method, place) for method in panel.methods}
    axes = {"score": {"label": f"score: {name}", "factor": 1.0}}
    for key in panel.figures:
        values = [point[key].mean for point in points.values() if key in point]
        if values:
            scale = scale_of(panel.definitions[key], values)
            axes[key] = {"label": heading(panel.definitions[key], scale), "factor": scale.factor}
    return {
        "name": name,
        "axes": axes,
        "points": {
            method: {key: _point(panel.definitions[key], estimate) for key, estimate in point.items()}
            for method, point in points.items()
        },
    }


def _estimates(panel: Panel, method: str, place: str) -> dict[str, Estimate]:
    """Score and measured figures of a method; estimated ones are not plotted, for they must not rank methods."""
    score = panel.scores.get((method, place))
    costs = panel.costs.get((method, place), {})
    point = {} if score is None else {"score": score}
    return point | {key: estimate for key, estimate in costs.items() if not panel.definitions[key].estimated}


def _point(column: Column, estimate: Estimate) -> list[float | int | str | None]:
    """Mean, both ends of its interval, number of runs, and all that but the runs as text."""
    low, high = estimate.interval or (None, None)
    rounded = [None if value is None else float(f"{value:.6g}") for value in (estimate.mean, low, high)]
    scale = scale_of(column, [estimate.mean])
    text = f"{figure_cell(column, [estimate], scale, interval=True).text} {scale.unit}".rstrip()
    return [*rounded, estimate.runs, text]
