"""Tables as data: cells with a text and a value to sort by, headings with an explanation, and notes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reports.columns.document import Column
from reports.columns.indices import KNOWN
from reports.columns.numerals import ABSENT, Scale, rounded, written
from reports.frame.estimates import Estimate
from reports.frame.frame import PROFILED
from reports.frame.panels import OVERALL, Panel
from reports.stats.intervals import Interval

WIDE_SHARE = 0.1
"""An interval of a time ratio that is wider than this share of it is marked: measure again."""

SHORT_HEADS = {"stored_share": "share\n%", "train_step_ratio": "step\n/ full", "train_time_s": "train\ns"}


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: as readers see it.
        value: what the column is sorted by; None sorts last.
        strong: whether it is the best of its column; shown only where there are several seeds.
        short: a shorter text for a narrow terminal; empty if there is none.
    """

    text: str
    value: int | float | str | None = None
    strong: bool = False
    short: str = ""


@dataclass(frozen=True)
class Head:
    """The heading of a column, with an explanation in `says`."""

    text: str
    says: str = ""
    numeric: bool = True
    short: str = ""


@dataclass(frozen=True)
class Table:
    """One table with a title above and notes below it.

    Attributes:
        key: a short name.
        title: above it.
        header: a heading a column.
        rows: of as many cells.
        notes: without which the table misleads; three or fewer.
        reads: one sentence that says how to read it and what it shows here.
        details: all else that is to be known, such as why figures are absent; it may stand elsewhere.
    """

    key: str
    title: str
    header: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())
    reads: str = ""
    details: tuple[str, ...] = field(default=())


NOTHING = Cell(ABSENT)


def shortened(table: Table, most: int, whole: str) -> Table:
    """The table, or its first rows and a note that says where all of them are.

    Args:
        table: of any length.
        most: rows that are shown.
        whole: name of the file that has all rows.
    """
    if len(table.rows) <= most:
        return table
    note = f"The first {most} of {len(table.rows)} rows; {whole} has all."
    return replace(table, rows=table.rows[:most], notes=(note, *table.notes))


def shown_interval(column: Column, estimate: Estimate) -> Interval | None:
    """The interval of a figure as it is shown: cut at 0 where no figure can be negative."""
    if estimate.interval is None or column.key == "verified_test_change" or column.group in ("score", "index"):
        return estimate.interval
    return estimate.interval.within(0.0, math.inf) if estimate.mean >= 0 else estimate.interval


def head_of(column: Column, text: str | None = None) -> Head:
    """The heading of a figure with its definition."""
    says = f"{column.says} {column.formula}. Meter: {column.meter}. Known error: {column.error}."
    estimated = " (est.)" if column.estimated and "estimated" not in column.label else ""
    return Head((text or column.label) + estimated, says)


def figure_cell(column: Column, estimates: Sequence[Estimate], scale: Scale, *, interval: bool) -> Cell:
    """One estimate with its interval, or the range of several."""
    if not estimates:
        return NOTHING
    mark = "~" if column.estimated else ""
    low, high = min(estimate.mean for estimate in estimates), max(estimate.mean for estimate in estimates)
    text = mark + written(column, low, scale)
    if written(column, high, scale) != written(column, low, scale):
        text += f" to {written(column, high, scale)}"
    ends = shown_interval(column, estimates[0]) if interval and len(estimates) == 1 else None
    if ends is not None and ends.high - ends.low > 1e-9 * abs(low):
        text += f" [{written(column, ends.low, scale)}, {written(column, ends.high, scale)}]"
        if column.key in PROFILED and ends.high - ends.low > WIDE_SHARE * low:
            text += " !"
    return Cell(text, low, short=rounded(low) if text == f"{low:,.0f}" else "")


def score_head(panel: Panel, place: str) -> Head:
    """The heading of a column of scores."""
    if place == OVERALL:
        return Head(f"mean of {len(panel.columns)} tasks", "The mean over tasks of the mean over seeds.")
    metric = panel.headlines.get(place)
    name = f"K={place}" if panel.by == "k" else place
    text = f"{name} ({metric})" if metric else name
    return Head(text, KNOWN["score"].says, short=f"{name}\n{metric or ''}")


def place_words(place: str) -> str:
    """A task, or all of them."""
    return "all tasks" if place == OVERALL else place


def score_cell(panel: Panel, method: str, place: str, *, interval: bool = False, strong: bool = False) -> Cell:
    """Mean ± standard deviation, what is lacking, and the interval if asked for."""
    estimate = panel.scores.get((method, place))
    lost = _lost(panel, method, place)
    if estimate is None:
        text = ", ".join(lost) or ABSENT
        return Cell(text, short=text.partition(" ")[2] if text.endswith(" undefined") else "")
    text, short = f"{estimate.mean:.3f}", f"{estimate.mean:.3f}"
    if estimate.std is not None:
        text += f" ± {estimate.std:.3f}"
        short += f" ±{estimate.std:.3f}".replace("±0.", "±.")
    if interval and estimate.interval is not None:
        text += f" [{estimate.interval.low:.3f}, {estimate.interval.high:.3f}]"
    fewer = [f"n={estimate.runs}"] if place != OVERALL and estimate.runs < panel.seeds else []
    if remark := ", ".join(fewer + lost):
        text, short = f"{text} ({remark})", f"{short} {fewer[0] if fewer else f'({remark})'}"
    return Cell(text, estimate.mean, strong, short)


def _lost(panel: Panel, method: str, place: str) -> list[str]:
    """How many runs of a cell have no score, such as `1 failed` or `2 undefined`."""
    counts: Mapping[str, int] = panel.statuses.get((method, place), {})
    lost = [f"{count} {status}" for status, count in counts.items() if status != "ok"]
    scored = panel.scores.get((method, place))
    undefined = counts.get("ok", 0) - (scored.runs if scored else 0)
    return lost + ([f"{undefined} undefined"] if undefined > 0 else [])
