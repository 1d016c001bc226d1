"""Score and costs of all methods side by side: a row for each method, a panel for each cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.columns.numerals import heading, scale_of
from reports.figures.axes import listed, score_words
from reports.figures.dots import DotGrid, Quantity
from reports.figures.drawing import Drawing
from reports.figures.sources import Setting

ORDER = 30
TIE = 0.001
"""Costs that differ by a smaller share are called equal."""
KEPT = (
    "trained_parameters",
    "stored_bytes",
    "active_parameters",
    "contributing_parameters",
    "verified_parameters",
)
SPENT = (
    "train_flops_per_example",
    "infer_flops_per_example",
    "train_live_bytes",
    "infer_live_bytes",
    "train_step_ratio",
    "infer_ratio",
    "train_energy_measured_joules",
)
"""Two figures: what is trained and kept, and what is spent. Neither holds an estimated cost."""


def drawings(setting: Setting, width: float) -> Iterator[Drawing]:
    """What is trained and kept, and what is spent, each where at least two of its costs are known."""
    for name, keys, what in (("kept", KEPT, "trained and kept"), ("spent", SPENT, "spent")):
        known = measured(setting, keys)
        if len(known) < 2:
            continue
        grid = cost_grid(setting, known, width)
        yield Drawing(f"costs-{name}", _caption(setting, known, what, grid), grid.draw, width, grid.height)


def measured(setting: Setting, keys: Sequence[str]) -> list[str]:
    """Those of the costs that any method has, and not as an estimate."""
    return [
        key
        for key in keys
        if not setting.panel.definitions[key].estimated
        and any(setting.cost(method, key) for method in setting.panel.methods)
    ]


def cost_grid(setting: Setting, keys: Sequence[str], width: float) -> DotGrid:
    """The score and these costs, methods with the best score on top, those without one below."""
    panel = setting.panel

    def score_of(method: str) -> float:
        estimate = setting.score(method)
        return float("-inf") if estimate is None else estimate.mean

    names = sorted(panel.methods, key=score_of, reverse=True)
    scores = {name: estimate for name in names if (estimate := setting.score(name)) is not None}
    quantities = [Quantity(score_words(panel, setting.place), scores)] if scores else []
    for key in keys:
        costs = {name: estimate for name in names if (estimate := setting.cost(name, key)) is not None}
        scale = scale_of(setting.panel.definitions[key], [estimate.mean for estimate in costs.values()])
        quantities.append(Quantity(heading(setting.panel.definitions[key], scale), costs, scale.factor))
    return DotGrid(names, quantities, setting.looks, width)


def _caption(setting: Setting, keys: Sequence[str], what: str, grid: DotGrid) -> str:
    """How to read it, which method needs least of each cost, and what a dash means."""
    least: dict[str, list[str]] = {}
    for key in keys:
        costs = {
            name: cost.mean
            for name in grid.names
            if name not in setting.panel.still and (cost := setting.cost(name, key)) is not None
        }
        lowest = [name for name, cost in costs.items() if cost <= min(costs.values()) * (1 + TIE)]
        if setting.panel.definitions[key].better == "lower" and 0 < len(lowest) < len(costs):
            least.setdefault(listed(lowest), []).append(setting.panel.definitions[key].label)
    words = [f"{names} for {listed(labels, 6)}" for names, labels in least.items()]
    shown = f"; cheapest among methods that train: {'; '.join(words)}" if words else ""
    missing = any(len(quantity.values) < len(grid.names) for quantity in grid.quantities)
    dash = "; a dash marks what was not measured" if missing else ""
    return f"What is {what}, a panel for each cost with its own axis, best score on top, less is better{shown}{dash}."
