"""All figures of a panel, and their files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from reports.figures.bars import (
    KEPT,
    MEMORY_PARTS,
    SPENT,
    comparable_keys,
    costs_at,
    memory_bars,
    parallel_costs,
    rank_plot,
)
from reports.figures.curves import score_by_k, training_curves
from reports.figures.pareto import pareto
from reports.figures.style import COLUMN_INCHES, figure, legend_below, paper
from reports.frame.frame import curves as curves_of
from reports.frame.fronts import front_keys
from reports.frame.panels import Panel, panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bench.records.store import Record

Format = Literal["svg", "pdf", "png"]
PNG_DPI = 300
FRONTS = (
    "stored_bytes",
    "stored_parameters",
    "train_step_ratio",
    "infer_ratio",
    "train_flops_per_example",
    "train_live_bytes",
    "train_energy_measured_joules",
)
"""Costs that get a front of their own in print; the page offers all."""


DRAWN_PANELS = 4
"""Settings that get figures when there are more; the page's plot has all of them."""


@dataclass(frozen=True)
class Drawing:
    """A figure to be made.

    Attributes:
        name: of its file.
        says: what it shows and what it does not, for captions and screen readers.
        height: inches.
    """

    name: str
    says: str
    draw: Callable[[Axes], Axes]
    height: float = 2.6


class Drawn(NamedTuple):
    """A figure's file, what it says, and the setting that it is of, by its place among the panels."""

    path: Path
    says: str
    setting: int | None = None


def drawings(panel: Panel, curves: pd.DataFrame) -> Iterator[Drawing]:
    """The figures that a panel's records allow."""
    place = panel.places[0]
    interval = "whiskers: 95% intervals" if panel.seeds > 1 else "one seed: no intervals"
    for key in (key for key in FRONTS if key in front_keys(panel)):
        if key == "stored_parameters" and "stored_bytes" in panel.figures:
            continue
        says = f"Score against {panel.definitions[key].label}; filled: on the Pareto front of the means; {interval}."
        yield Drawing(f"pareto-{key.replace('_', '-')}", says, partial(pareto, panel, key, place=place))
    if all(key in panel.figures for key in MEMORY_PARTS):
        says = "Peak live tensor bytes of a training step, by what they are; without the kernels' workspace."
        rows = sum(costs_at(panel, method, MEMORY_PARTS[0]) is not None for method in panel.methods)
        yield Drawing("memory", says, partial(memory_bars, panel), 0.9 + 0.2 * rows)
    for name, keys, what in (("kept", KEPT, "What is trained and kept"), ("spent", SPENT, "What is spent")):
        if len(comparable_keys(panel, keys, panel.baseline)) > 1:
            says = (
                f"{what}, relative to {panel.baseline}; what is zero or was not measured has no mark, and a method "
                "with half of these costs or fewer is left out."
            )
            yield Drawing(f"parallel-{name}", says, partial(parallel_costs, panel, keys=keys), 2.8)
    if panel.ranks:
        says = "Average ranks; they say who is ahead more often, not by how much nor whether by more than noise."
        yield Drawing("ranks", says, partial(rank_plot, panel), 0.7 + 0.2 * len(panel.ranks))
    if panel.by == "task":
        for task in [task for task in panel.columns if task in panel.headlines][:6]:
            if curves["digest"].isin(panel.ok[panel.ok["task"] == task]["digest"]).any():
                says = f"{task}: score on the dev rows while training; band: range of the seeds."
                yield Drawing(f"curves-{slug(task)}", says, partial(training_curves, curves, panel, task))


def size_drawing(panel: Panel) -> Drawing:
    """Score against K, for a panel by k."""
    task = panel.fixed["task"]
    says = f"{task}: test score against the number of training rows, with 95% intervals where there are seeds."
    return Drawing(f"score-by-k-{slug(task)}", says, partial(score_by_k, panel))


def draw(drawing: Drawing, folder: Path, formats: Sequence[Format]) -> list[Path]:
    """Makes one figure and writes it in each format."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with paper():
        drawn, ax = figure(width=COLUMN_INCHES, height=drawing.height)
        drawing.draw(ax)
        if not drawing.name.startswith("ranks"):
            legend_below(ax)
        for kind in formats:
            path = folder / f"{drawing.name}.{kind}"
            stamp = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
            drawn.savefig(path, dpi=PNG_DPI, metadata=stamp)
            paths.append(path)
    return paths


def slug(text: str) -> str:
    """A file name's piece."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def draw_all(
    records: Sequence[Record], found: list[Panel], runs: pd.DataFrame, folder: Path, formats: Sequence[str]
) -> list[Drawn]:
    """The figures of the first settings, and those over K, which are of no single one."""
    kinds: list[Format] = [kind for kind in ("svg", "pdf", "png") if kind in formats]
    seen = curves_of(records)
    drawn: list[Drawn] = []
    for number, panel in enumerate(found[:DRAWN_PANELS]):
        own = folder / slug(panel.title) if len(found) > 1 else folder
        for drawing in drawings(panel, seen):
            says = f"{panel.title}: {drawing.says}" if len(found) > 1 else drawing.says
            drawn += [Drawn(path, says, number) for path in draw(drawing, own, kinds)]
    for panel in [panel for panel in panels(runs, by="k") if len(panel.columns) > 1][:DRAWN_PANELS]:
        drawing = size_drawing(panel)
        own = folder / slug(panel.title)
        drawn += [Drawn(path, f"{panel.title}: {drawing.says}") for path in draw(drawing, own, kinds)]
    return drawn
