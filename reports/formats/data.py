"""The numbers of a report as data: CSV, and a nested form for JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reports.frame.estimates import Estimate
from reports.frame.panels import OVERALL, Panel
from reports.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


def csv_of(table: Table) -> str:
    """A table's values as CSV: six significant digits, empty where there is none."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([head.text for head in table.header])
    for row in table.rows:
        writer.writerow([f"{cell.value:.6g}" if isinstance(cell.value, float) else cell.value for cell in row])
    return lines.getvalue()


def summary(panels: list[Panel]) -> pd.DataFrame:
    """A row for each setting, method and place (a task, K or model; `(all)`), a figure's interval beside it.

    A figure that was not measured is missing. Statistics against the baseline are missing at one seed.
    """
    import pandas as pd

    rows = [
        _row(panel, method, place)
        for panel in panels
        for place in panel.places
        for method in panel.methods
        if place == OVERALL or (method, place) in panel.statuses
    ]
    table: pd.DataFrame = pd.DataFrame(rows).dropna(axis="columns", how="all").convert_dtypes()
    return table


def _row(panel: Panel, method: str, place: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "setting": panel.title,
        **panel.fixed,
        panel.by: place or "(all)",
        "method": method,
        "headline": panel.headlines.get(place),
    }
    score = panel.scores.get((method, place))
    row |= {
        "seeds": 0 if score is None else score.runs,
        "score_mean": score and score.mean,
        "score_std": score and score.std,
        "score_low": score and score.interval and score.interval.low,
        "score_high": score and score.interval and score.interval.high,
    }
    statuses: Mapping[str, int] = panel.statuses.get((method, place), {})
    if place != OVERALL:
        row |= {f"runs_{status}": statuses.get(status, 0) for status in ("failed", "unsupported")}
    else:
        row["average_rank"] = panel.ranks.get(method)
        row["seeds"] = None
    contrast = panel.contrasts[place].get(method)
    if contrast is not None and contrast.p_value is not None:
        row |= {
            "baseline": contrast.baseline,
            "difference": contrast.difference,
            "difference_low": contrast.interval and contrast.interval.low,
            "difference_high": contrast.interval and contrast.interval.high,
            "p_value": contrast.p_value,
            "p_adjusted": contrast.p_adjusted,
            "probability_of_improvement": contrast.improvement,
            "detectable_difference": contrast.detectable,
        }
    for key, estimate in panel.costs.get((method, place), {}).items():
        row |= _flat(key, estimate)
    return row


def _flat(key: str, estimate: Estimate) -> dict[str, float]:
    columns = {key: estimate.mean}
    if estimate.interval is not None and estimate.interval.low != estimate.interval.high:
        columns |= {f"{key}_low": estimate.interval.low, f"{key}_high": estimate.interval.high}
    return columns


def nested(panels: list[Panel]) -> list[dict[str, Any]]:
    """All statistics of all panels as plain data: None where there is nothing, never NaN."""
    return [
        {
            "setting": panel.title,
            "by": panel.by,
            "fixed": dict(panel.fixed),
            "baseline": panel.baseline,
            "average_ranks": panel.ranks,
            "places": [
                {
                    "place": place or "(all)",
                    "headline": panel.headlines.get(place),
                    "methods": [_member(panel, method, place) for method in panel.methods],
                }
                for place in panel.places
            ],
        }
        for panel in panels
    ]


def _member(panel: Panel, method: str, place: str) -> dict[str, Any]:
    contrast = panel.contrasts[place].get(method)
    return {
        "method": method,
        "runs": dict(panel.statuses.get((method, place), {})),
        "score": plain(panel.scores.get((method, place))),
        "against_baseline": None if contrast is None else asdict(contrast),
        "figures": {key: plain(estimate) for key, estimate in panel.costs.get((method, place), {}).items()},
    }


def plain(estimate: Estimate | None) -> dict[str, Any] | None:
    """An estimate as plain data."""
    if estimate is None:
        return None
    interval = None if estimate.interval is None else list(estimate.interval)
    return {"mean": estimate.mean, "std": estimate.std, "interval": interval, "runs": estimate.runs}
