"""Score against a cost: who buys what."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from reports.columns.numerals import heading, scale_of
from reports.figures.axes import cost_scale, listed, score_words, whisker
from reports.figures.drawing import Drawing
from reports.figures.labels import Mark, Segment, fitting, label_points
from reports.figures.sources import Setting
from reports.frame.fronts import front_keys, front_members, front_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 10
COSTS = (
    "stored_bytes",
    "stored_parameters",
    "train_step_ratio",
    "infer_ratio",
    "train_flops_per_example",
    "train_live_bytes",
    "train_energy_measured_joules",
)
"""Costs that get a figure of their own; the page's plot offers all."""


def drawings(setting: Setting, width: float) -> Iterator[Drawing]:
    """A figure for each measured cost of `COSTS`; stored parameters only where stored bytes are not known."""
    panel = setting.panel
    allowed = front_keys(panel)
    for key in COSTS:
        if key not in allowed or (key == "stored_parameters" and "stored_bytes" in panel.figures):
            continue
        if front_points(panel, key, setting.place):
            name = f"pareto-{key.replace('_', '-')}"
            yield Drawing(name, _caption(setting, key), partial(_draw, setting, key), width, 1.35 + 0.36 * width)


def _caption(setting: Setting, key: str) -> str:
    points = front_points(setting.panel, key, setting.place)
    best = max(points, key=lambda method: points[method][0].mean)
    members = front_members(setting.panel, key, setting.place)
    bars = "bars are 95% intervals" if setting.panel.seeds > 1 else "one seed, so no intervals"
    less = f"no other method is better in both than {listed(members, 6)} (filled marks, grey line)"
    label = setting.panel.definitions[key].label
    return (
        f"Score against {label}, better towards the upper left: {best} has the best mean score "
        f"({points[best][0].mean:.3f}), and {less}; {bars}."
    )


def _draw(setting: Setting, key: str, figure: Figure) -> None:
    pareto(setting, key, figure.subplots())


def pareto(setting: Setting, key: str, ax: Axes) -> Axes:
    """Score against one cost, both with their 95% intervals, and the front through the means.

    Args:
        setting: whose methods are drawn.
        key: of `reports.columns.document`.
        ax: drawn on and returned.
    """
    import seaborn as sns

    panel, place = setting.panel, setting.place
    column, points = setting.panel.definitions[key], front_points(panel, key, place)
    scale = scale_of(column, [cost.mean for _, cost in points.values()])
    members = front_members(panel, key, place)
    names = list(points)
    x = [points[name][1].mean / scale.factor for name in names]
    y = [points[name][0].mean for name in names]
    ax.margins(x=0.1, y=0.12)
    steps = sorted((points[name][1].mean / scale.factor, points[name][0].mean) for name in members)
    ax.step([at for at, _ in steps], [at for _, at in steps], where="post", color="#a6a6a6", lw=0.9, zorder=1)
    colours: Any = [setting.looks[name].colour for name in names]
    across = [whisker(points[name][1], scale.factor) for name in names]
    up = [whisker(points[name][0]) for name in names]
    ax.errorbar(
        x, y, xerr=list(zip(*across, strict=True)), yerr=list(zip(*up, strict=True)),
        fmt="none", ecolor=colours, elinewidth=0.7, zorder=2,
    )  # fmt: skip
    sns.scatterplot(
        x=x, y=y, hue=names, style=names, palette=colours, s=28, linewidth=0.9, legend=False, zorder=3, ax=ax,
        markers={name: setting.looks[name].marker for name in names},
    )  # fmt: skip
    marks = ax.collections[-1]
    marks.set_edgecolor(colours)
    marks.set_facecolor([colour if name in members else "white" for name, colour in zip(names, colours, strict=True)])
    marks.set_gid("marks")
    cost_scale(ax, x)
    ax.set_xlabel(heading(column, scale))
    ax.set_ylabel(fitting(score_words(panel, place), 2.2))
    segments = [*_segments(x, y, across, up), *_steps(steps)]
    label_points(ax, [Mark(*point) for point in zip(names, x, y, strict=True)], looks=setting.looks, segments=segments)
    return ax


def _segments(
    x: list[float], y: list[float], across: list[tuple[float, float]], up: list[tuple[float, float]]
) -> Iterator[Segment]:
    """The whiskers as lines."""
    for at, score, (left, right), (below, above) in zip(x, y, across, up, strict=True):
        if left == left and at > left:
            yield (at - left, score), (at + right, score)
        if below == below:
            yield (at, score - below), (at, score + above)


def _steps(steps: list[tuple[float, float]]) -> Iterator[Segment]:
    """The front as lines."""
    for (x, y), (further, higher) in pairwise(steps):
        yield (x, y), (further, y)
        yield (further, y), (further, higher)
