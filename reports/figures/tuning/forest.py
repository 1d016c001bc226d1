"""Test scores after tuning: each method beside the best of the others, with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from reports.figures.axes import listed, rows, rows_height, rows_width
from reports.figures.drawing import Drawing
from reports.figures.sources import Tuning
from reports.figures.style import POINTS
from reports.frame.panels import OVERALL
from reports.frame.searches import shared_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.stats.best import AgainstBest

ORDER = 30


def drawings(source: Tuning, width: float) -> Iterator[Drawing]:
    """One figure, where the searched runs have several seeds."""
    panel = source.panel
    if not source.searches or panel.seeds < 2:
        return
    compared = {place: panel.against_best(place, source.margin) for place in _places(source, width)}
    compared = {place: found for place, found in compared.items() if _order(source, found)}
    if compared:
        names = _order(source, compared[next(iter(compared))])
        height = 0.6 + rows_height(names)
        yield Drawing("tuning-forest", _caption(source, compared), partial(_draw, source, compared), width, height)


def _places(source: Tuning, width: float) -> tuple[str, ...]:
    """All columns together and each of them where there is room, else the first of these."""
    panel = source.panel
    inches = (width - rows_width(panel.methods)) / len(panel.places)
    longest = max(len(_title(source, place)) for place in panel.places)
    return panel.places if longest * POINTS * 0.66 / 72 <= inches else panel.places[:1]


def _title(source: Tuning, place: str) -> str:
    return f"mean of {len(source.panel.columns)} tasks" if place == OVERALL else place


def _order(source: Tuning, found: dict[str, AgainstBest]) -> list[str]:
    """Methods with an interval, the best on top; one that trains nothing would leave the others no room."""
    trained = {name: row for name, row in found.items() if name not in source.panel.still}
    known = {name: row.difference for name, row in trained.items() if row.interval is not None}
    return sorted(known, key=lambda name: -(known[name] or 0.0))


def _caption(source: Tuning, compared: dict[str, dict[str, AgainstBest]]) -> str:
    place, found = next(iter(compared.items()))
    names = _order(source, found)
    good = [name for name in names if found[name].as_good]
    worse = [name for name in names if found[name].worse]
    where = f"on {place}" if place != OVERALL else f"over {len(source.panel.columns)} tasks"
    here = shared_words(source.searches)
    words = [
        "Test score after tuning less the best of the other methods', paired by seed, with intervals that hold "
        "together with 95%; filled marks are shown to be at least as good as the best, less the margin of "
        f"{source.margin:g} (grey band)",
        f"{where} that is {listed(good)}{here}" if good else f"{where} that is none{here}, for want of seeds",
    ]
    told = f"shown to be worse than another{here}: {listed(worse, 6)}" if worse else f"none is shown to be worse{here}"
    words.append(told)
    return f"{'; '.join(words)}."


def _draw(source: Tuning, compared: dict[str, dict[str, AgainstBest]], figure: Figure) -> None:
    from matplotlib.ticker import MaxNLocator

    names = _order(source, compared[next(iter(compared))])
    axes = figure.subplots(1, len(compared), sharey=True, squeeze=False)[0]
    for ax, (place, found) in zip(axes, compared.items(), strict=True):
        forest(source, place, found, names, ax)
        ax.xaxis.set_major_locator(MaxNLocator(5 if len(axes) == 1 else 2, steps=[1, 2, 5, 10]))
    figure.supxlabel("test score less the best of the others", fontsize=POINTS)


def forest(source: Tuning, place: str, found: dict[str, AgainstBest], names: list[str], ax: Axes) -> Axes:
    """Each method's difference to the best of the others in one place, with its interval, a row each."""
    from matplotlib.ticker import FuncFormatter

    ax.axvspan(-source.margin, source.margin, color="#bbbbbb", alpha=0.35, linewidth=0, zorder=0)
    ax.axvline(0, color="#888888", linewidth=0.6, zorder=1)
    for row, name in enumerate(names):
        of, look = found[name], source.looks[name]
        if of.interval is None or of.difference is None:
            continue
        ax.plot(list(of.interval), [row, row], color=look.colour, linewidth=0.9, zorder=2)
        ax.plot(
            [of.difference], [row], linestyle="", marker=look.marker, color=look.colour, zorder=3, gid="marks",
            markerfacecolor=look.colour if of.as_good else "white", markersize=4.5,
        )  # fmt: skip
    rows(ax, names)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
    ax.set_title(_title(source, place))
    return ax
