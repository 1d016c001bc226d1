"""All figures of a comparison, written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reports.figures.drawing import FORMATS, slug, write
from reports.figures.registry import drawings
from reports.figures.sources import Setting, Tuning
from reports.figures.style import Paper, looks
from reports.frame.frame import curves
from reports.frame.panels import Panel, panels
from reports.frame.searches import searches_of

if TYPE_CHECKING:
    import pandas as pd

    from bench.records.store import Record

DRAWN_PANELS = 4
"""Settings that get figures when there are more; the page's plot has all of them."""


class Drawn(NamedTuple):
    """A figure's file, its caption, and the setting that it is of, by its place among the panels."""

    path: Path
    says: str
    setting: int | None = None


def draw_all(
    records: Sequence[Record],
    found: list[Panel],
    runs: pd.DataFrame,
    folder: Path,
    formats: Sequence[str],
    *,
    paper: Paper = Paper(),  # noqa: B008 (frozen)
) -> list[Drawn]:
    """The figures of the first settings, and those over K, which are of no single one.

    Args:
        records: of the comparison, trials among them.
        found: its settings.
        runs: of `reports.frame.frame.frame`.
        folder: where the files go, a folder for each setting if there are several.
        formats: those that are no formats of figures are passed over.
        paper: width and theme of the figures.

    Returns:
        A row for each file.
    """
    kinds = [kind for kind in FORMATS if kind in formats]
    points = curves(records)
    style = looks(sorted(set(runs["method"])))
    several = len(found) > 1
    drawn: list[Drawn] = []
    for number, panel in enumerate(found[:DRAWN_PANELS]):
        own = folder / slug(panel.title) if several else folder
        for drawing, paths in write(
            drawings("comparison", Setting(panel, points, style), paper.width), own, kinds, theme=paper.theme
        ):
            caption = f"{panel.name}: {drawing.caption}" if several else drawing.caption
            drawn += [Drawn(path, caption, number) for path in paths]
        tuning = Tuning(panel, tuple(searches_of(panel, records)), style)
        for drawing, paths in write(drawings("tuning", tuning, paper.width), own, kinds, theme=paper.theme):
            caption = f"{panel.name}: {drawing.caption}" if several else drawing.caption
            drawn += [Drawn(path, caption, number) for path in paths]
    for panel in [panel for panel in panels(runs, by="k") if len(panel.columns) > 1][:DRAWN_PANELS]:
        own = folder / slug(panel.title)
        for drawing, paths in write(
            drawings("sizes", Setting(panel, points, style), paper.width), own, kinds, theme=paper.theme
        ):
            drawn += [Drawn(path, f"{panel.name}: {drawing.caption}") for path in paths]
    return drawn
