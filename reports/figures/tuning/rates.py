"""Dev score of every trial against its learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from reports.figures.axes import listed
from reports.figures.drawing import Drawing
from reports.figures.labels import handles_below
from reports.figures.multiples import height_of, multiples, powers_of_ten
from reports.figures.sources import Tuning
from reports.frame.searches import Searched, Tried, by_place, floor_of
from reports.tables.tuning import good_range_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 10
MOST_PLACES = 6
"""Tasks that get a figure where there are more."""


def drawings(source: Tuning, width: float) -> Iterator[Drawing]:
    """A figure for each of the first columns in which a rate was searched."""
    for place, found in list(by_place(source.searches))[:MOST_PLACES]:
        shown = [each for each in found if good_range_of(source.panel, each, source.margin) is not None]
        if shown:
            names = [each.method for each in shown]
            yield Drawing(
                f"tuning-rates-{place}",
                _caption(source, place, shown),
                partial(_draw, source, place, shown),
                width,
                height_of(len(names), width),
            )


def _caption(source: Tuning, place: str, shown: Sequence[Searched]) -> str:
    widths = {}
    for each in shown:
        found = good_range_of(source.panel, each, source.margin)
        assert found is not None
        widths[each.method] = (found.width, "at least " if found.at_least else "")
    widest, narrowest = max(widths, key=lambda name: widths[name][0]), min(widths, key=lambda name: widths[name][0])
    span = f"it is {widths[widest][1]}{widths[widest][0]:.2f} powers of ten wide for {widest}"
    if narrowest != widest:
        span += f", {widths[narrowest][1]}{widths[narrowest][0]:.2f} for {narrowest}"
    edges = [each.method for each in shown if any(chosen.at_edge for chosen in each.chosen)]
    words = [
        f"{place}: dev score of each trial against its learning rate, one panel a method, ringed where it was chosen",
        f"shaded is the range of rates whose smoothed score is within {source.margin:g} of the best: {span}",
    ]
    if edges:
        words.append(f"a choice of {listed(edges)} stands at an edge of what was tried")
    if any(each.failed for each in shown):
        words.append(f"failed trials stand at {floor_of(source.panel, place)[1]}")
    return f"{'; '.join(words)}."


def _draw(source: Tuning, place: str, shown: Sequence[Searched], figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    x = " or ".join(sorted({str(each.axis).replace("_", " ") for each in shown}))
    y = f"{place}: dev {source.panel.headlines.get(place, 'score')}"
    for ax, each in zip(multiples(figure, [each.method for each in shown], x=x, y=y), shown, strict=True):
        _panel(source, each, ax)
        ax.margins(y=0.1)
        powers_of_ten(ax)
    dot = {"linestyle": "", "color": "#555555", "markersize": 2.8}
    handles: dict[str, object] = {"trial": Line2D([], [], marker="o", **dot)}  # type: ignore[arg-type]
    if any(len(each.trials) > len(each.originals) for each in shown):
        handles["beyond the range"] = Line2D([], [], marker="o", markerfacecolor="white", **dot)  # type: ignore[arg-type]
    if any(each.failed for each in shown):
        handles["failed, at the floor"] = Line2D([], [], marker="x", **dot)  # type: ignore[arg-type]
    ring = {"marker": "o", "linestyle": "", "color": "#000000", "markerfacecolor": "none", "markersize": 5.5}
    handles["chosen"] = Line2D([], [], markeredgewidth=0.8, **ring)  # type: ignore[arg-type]
    handles[f"within {source.margin:g} of the best"] = Patch(color="#555555", alpha=0.2, linewidth=0)
    handles_below(figure, list(handles.values()), list(handles), handle=1.0)


def _panel(source: Tuning, each: Searched, ax: Axes) -> None:
    look = source.looks[each.method]
    floor, _ = floor_of(source.panel, each.place)
    ax.set_xscale("log")
    good = good_range_of(source.panel, each, source.margin)
    assert good is not None
    ax.axvspan(good.low, good.high, color=look.colour, alpha=0.14, linewidth=0, zorder=0)
    kinds = {
        "trials": ([t for t in each.trials if t.score is not None and t.original], "o", look.colour),
        "beyond": ([t for t in each.trials if t.score is not None and not t.original], "o", "white"),
        "failed": ([t for t in each.trials if t.score is None], "x", look.colour),
    }
    for kind, (trials, marker, face) in kinds.items():
        ax.plot(
            [each.rate(trial) for trial in trials], each.scores(floor, trials), linestyle="", marker=marker, gid=kind,
            color=look.colour, markerfacecolor=face, markersize=2.6, markeredgewidth=0.7, alpha=0.85,
        )  # fmt: skip
    chosen = [trial for trial in each.trials if _is_chosen(each, trial)]
    ax.plot(
        [each.rate(trial) for trial in chosen], each.scores(floor, chosen), linestyle="", marker="o", color="#000000",
        markerfacecolor="none", markersize=5.5, markeredgewidth=0.8, gid="chosen",
    )  # fmt: skip


def _is_chosen(each: Searched, trial: Tried) -> bool:
    return any((chosen.search, chosen.values) == (trial.search, trial.values) for chosen in each.chosen)
