"""Makes the page: one HTML file that opens offline, loads nothing from the network, and escapes every text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records.store import Record
from reports.columns.document import GROUPS, Column
from reports.columns.indices import KNOWN
from reports.columns.numerals import heading, scale_of, significant
from reports.frame.estimates import Estimate
from reports.frame.panels import OVERALL, Panel
from reports.tables.answers import loss_words, score_words
from reports.tables.needs import COPIES, NEEDS, costs_of, measured_by, milliseconds, suspect
from reports.tables.table import Table, figure_cell, shortened, shown_interval

if TYPE_CHECKING:
    from reports.figures.draw import Drawn
    from reports.report import Report
    from reports.tables.sections import Section

LIMIT_BYTES = 6_000_000
ROWS_SHOWN = 400
"""Rows that a table of the page shows; the CSV files have all."""
MOST_DECIMALS = 4
"""Figures of a column with a longer fraction are not aligned at the point: they would stand far from the edge."""
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
    names = ", ".join(out.resolve().name for out in outs)
    context: dict[str, Any] = {
        "title": f"Which method should I use? {names}".strip(),
        "names": names,
        "sections": [
            replace(part, tables=tuple(shortened(table, ROWS_SHOWN, "table.csv") for table in part.tables))
            for part in report.sections
        ],
        "published": report.published,
        "copies": COPIES,
        "definitions": [
            (title, [column for column in report.defined if column.group == group]) for group, title in GROUPS.items()
        ],
        "environments": environments(records),
        "commands": [command] if command else commands(records),
        "data": {
            **plot_data(panels, records),
            "answers": [limits_data(*each) for each in zip(panels, report.sections, strict=True)],
        },
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
    environment.filters["pieces"] = pieces
    environment.filters["decimals"] = decimals
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # figures and methods have their order
    source = resources.files("reports") / "templates"
    template, style, plot, rest = (
        (source / name).read_text("utf-8") for name in ("page.html.j2", "page.css", "plot.js", "page.js")
    )
    script = plot + (source / "limits.js").read_text("utf-8") + rest
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(template).render(
        **context,
        style=Markup(style),
        script=Markup(script),
        script_digest=digest,
    )


def pieces(text: str) -> tuple[str, str]:
    """A cell's figure, and its interval or remark, which stands on a line of its own so that the figures align.

    >>> pieces("0.812 ± 0.025 [0.722, 0.902]"), pieces("0.762 (n=2, 1 failed)"), pieces("lora[r=8]")
    (('0.812 ± 0.025', '[0.722, 0.902]'), ('0.762', '(n=2, 1 failed)'), ('lora[r=8]', ''))
    """
    found = re.match(r"(.*?) (\[[^\[]*\].*|\([^()]*\))$", text)
    return (found[1], found[2]) if found else (text, "")


def decimals(table: Table) -> list[list[float]]:
    """By row and column, how many digits a figure lacks of its column's longest fraction, so that points align.

    A figure without a point lacks half a digit more: the point is about half as wide.
    """
    places = [[len(pieces(cell.text)[0].partition(".")[2]) for cell in row] for row in table.rows]
    plain = [
        [bool(re.fullmatch(r"[~+-]?\d[\d,]*(\.\d+)?\*?", pieces(cell.text)[0])) for cell in row] for row in table.rows
    ]
    most = [
        max((row[at] for row, are in zip(places, plain, strict=True) if are[at]), default=0)
        for at in range(len(table.header))
    ]
    return [
        [
            longest - count + (0.5 if longest and not count else 0) if is_plain and longest <= MOST_DECIMALS else 0
            for count, longest, is_plain in zip(row, most, are, strict=True)
        ]
        for row, are in zip(places, plain, strict=True)
    ]


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
    definitions, fields = _definitions(panels), dict[str, str]()
    for record, label in zip(records, unique_labels(records), strict=True):
        if label not in fields:
            fields[label] = ", ".join(f"{name}={value}" for name, value in record.asked.method.fields.items())
    return {
        "figures": {
            key: _axis(definitions[key]) for key in used if key in definitions and not definitions[key].estimated
        },
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
                "title": panel.name,
                "places": [_place(panel, place) for place in panel.places],
            }
            for panel in panels
        ],
    }


LIMITS = {
    "stored_bytes": ("stored bytes of a copy", "MB", 1e6),
    "train_live_bytes": ("training memory", "MB", 1e6),
    "latency": ("time of an answer", "ms", 1.0),
    "train_time_s": ("seconds of training", "s", 1.0),
}
"""Figures that a reader may set limits to: in words, and the unit that the limit is in."""


def limits_data(panel: Panel, section: Section) -> dict[str, Any]:
    """What the script needs to answer within a reader's limits: scores, costs and flags, the best method first."""
    decision = section.decision
    if decision is None:
        return {"methods": [], "limits": [], "margin": 0, "claims": False}
    costs = {key: costs_of(panel, key) for key in LIMITS if key != "latency"}
    key = next((key for need in NEEDS if need.key == "fast" and (key := measured_by(panel, need))), None)
    if key is not None and not suspect(panel, key):
        times = {method: milliseconds(panel, key, method) for method in decision.standings}
        costs["latency"] = {method: ms for method, ms in times.items() if ms is not None}
    known = {key: [costs[key][m] for m in decision.standings if m in costs.get(key, {})] for key in LIMITS}
    return {
        "margin": decision.margin,
        "claims": decision.claims,
        "headline": " ".join(section.headline),
        "limits": [
            {
                "key": key,
                "label": label,
                "unit": unit,
                "factor": factor,
                "least": significant(min(known[key]) / factor),
                "most": significant(max(known[key]) / factor),
            }
            for key, (label, unit, factor) in LIMITS.items()
            if known[key]
        ],
        "methods": [
            {
                "method": method,
                "score": score_words(decision, method),
                "loss": loss_words(decision, method),
                "best": method == decision.best,
                "asGood": method in decision.as_good,
                "worse": method in decision.worse,
                "costs": {key: float(f"{costs[key][method]:.6g}") for key in LIMITS if method in costs.get(key, {})},
            }
            for method in decision.standings
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
    low, high = shown_interval(column, estimate) or (None, None)
    rounded = [None if value is None else float(f"{value:.6g}") for value in (estimate.mean, low, high)]
    scale = scale_of(column, [estimate.mean])
    text = f"{figure_cell(column, [estimate], scale, interval=True).text} {scale.unit}".rstrip()
    return [*rounded, estimate.runs, text]
