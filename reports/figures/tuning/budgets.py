"""Tuning curves: the best of so many trials, with a band that holds for the whole curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from reports.columns.numerals import scale_of
from reports.columns.tuning import TUNING
from reports.figures.axes import short
from reports.figures.drawing import Drawing
from reports.figures.multiples import height_of, multiples
from reports.figures.sources import Tuning
from reports.frame.searches import Searched, by_place, floor_of, summed
from reports.stats.tuning import TuningCurve, tuning_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 20
MOST_PLACES = 6
"""Tasks that get figures where there are more."""

_COSTS = {"train_flops": ("FLOPs", "tuning_train_flops"), "train_time_s": ("seconds", "tuning_train_time_s")}
"""What the second figure is over: the first of these that was measured for all methods."""


def drawings(source: Tuning, width: float) -> Iterator[Drawing]:
    """Two figures for each of the first columns: over trials, and over what they cost."""
    for place, found in list(by_place(source.searches))[:MOST_PLACES]:
        shown = [each for each in found if len(each.originals) > 1]
        if not shown or not np.isfinite(source.panel.bounds(place)).all():
            continue
        height = height_of(len(shown), width)
        costs = [key for key in _COSTS if all(summed(each.originals, key) for each in shown)]
        for key in (None, *costs[:1]):
            name = f"tuning-curve-{place}" if key is None else f"tuning-curve-{_COSTS[key][0].lower()}-{place}"
            caption = _caption(source, place, shown, key)
            yield Drawing(name, caption, partial(_draw, source, place, shown, key), width, height)


def curve_of(source: Tuning, each: Searched, cost: str | None = None) -> TuningCurve:
    """The curve of the median best of m, from the searches' own draws; a failed one has the floor's score."""
    floor, _ = floor_of(source.panel, each.place)
    total = None if cost is None else summed(each.originals, cost)
    count = len(each.originals)
    return tuning_curve(
        each.scores(floor, each.originals),
        costs=None if total is None else np.full(count, total / count),
        bounds=source.panel.bounds(each.place),
    )


def _caption(source: Tuning, place: str, shown: Sequence[Searched], cost: str | None) -> str:
    curves = {each.method: curve_of(source, each) for each in shown}
    draws = min(each.draws for each in shown)
    over = "trials" if cost is None else f"training {_COSTS[cost][0]} spent on trials"
    words = [f"{place}: median dev score of the best trial against {over}, one panel a method, the others in grey"]
    if cost is None:
        for size in dict.fromkeys((1, draws)):
            best = max(curves, key=lambda name: curves[name].centre[size - 1])
            after = "one trial" if size == 1 else f"{size} trials"
            words.append(f"highest after {after} is {best} ({curves[best].centre[size - 1]:.3f})")
    else:
        least = {each.method: (summed(each.originals, cost) or 0.0) / len(each.originals) for each in shown}
        cheap, dear = min(least, key=lambda name: least[name]), max(least, key=lambda name: least[name])
        words.append(f"a trial of {dear} costs {least[dear] / least[cheap]:.2g} times one of {cheap}")
    level = next(iter(curves.values())).level
    words.append(f"each band holds for its whole curve together with {level:.0%}, whatever the scores' distribution")
    top = source.panel.bounds(place)[1]
    opened = [int(curve.trials[curve.high >= top][0]) for curve in curves.values() if (curve.high >= top).any()]
    if opened:
        words.append(
            f"from {min(opened)} trials on bands are open above, for so few draws cannot exclude better values"
        )
    if any(len(each.chosen) > 1 for each in shown):
        words.append("draws of several searches are pooled, as if those of one did not share training rows")
    return f"{'; '.join(words)}."


def _draw(source: Tuning, place: str, shown: Sequence[Searched], cost: str | None, figure: Figure) -> None:
    curves = {each.method: curve_of(source, each, cost) for each in shown}
    factor, x = 1.0, "trials"
    if cost is not None:
        column = TUNING[_COSTS[cost][1]]
        scale = scale_of(column, [float(curve.cost[-1]) for curve in curves.values() if curve.cost is not None])
        factor, x = (
            scale.factor,
            f"training {_COSTS[cost][0]} of the trials ({scale.unit.removesuffix('FLOPs') or '1'})",
        )
    y = f"{place}: dev {source.panel.headlines.get(place, 'score')} of the best"
    low = min(float(curve.low.min()) for curve in curves.values())
    high = max(float(curve.centre.max()) for curve in curves.values())
    across = {name: (c.trials if c.cost is None else c.cost / factor) for name, c in curves.items()}
    names = [each.method for each in shown]
    for ax, each in zip(multiples(figure, names, x=x, y=y), shown, strict=True):
        look, curve = source.looks[each.method], curves[each.method]
        for name, other in curves.items():
            if name != each.method:
                ax.plot(across[name], other.centre, color="#c4c4c4", linewidth=0.6, zorder=1)
        ax.fill_between(
            across[each.method], curve.low, curve.high, color=look.colour, alpha=0.16, linewidth=0, zorder=2
        )
        ax.plot(across[each.method], curve.centre, color=look.colour, linewidth=1.4, zorder=3, gid="centre")
        ax.set_xscale("log")
        _few_ticks(ax, whole=cost is None)
    ax.set_ylim(low - 0.04 * (high - low), high + 0.12 * (high - low))


def _few_ticks(ax: Axes, *, whole: bool) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    ax.xaxis.set_major_locator(FixedLocator([1, 4, 12, 48, 200]) if whole else LogLocator(numticks=4))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
