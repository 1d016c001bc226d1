"""Names beside what they name: labels of points, labels at the ends of lines, and a key for what has no room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reports.figures.style import POINTS, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Boxes = NDArray[np.float64]
"""Boxes in points, a row each: left, bottom, right, top."""

_RINGS = (2.0, 7.0, 13.0, 20.0, 28.0, 38.0, 50.0)
"""Distances in points of a label from its mark, the preferred one first; from the second on a line leads to it."""
_DIRECTIONS = ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1))
_MARK = 4.0
"""Half the side of the box that a mark takes, in points."""
_GAP = np.array([4.0, 1.0])
"""Least distance between labels, in points: beside each other more, lest two names read as one."""
_CROSSES = 3.0
"""What it costs a label to cross a whisker or another line, in rings."""
_WIDEST_ENDS = 0.38
"""Share of a figure's width that labels at the ends of lines may take; wider ones go into a key."""


@dataclass(frozen=True)
class Mark:
    """A named point, in the units of its axes."""

    name: str
    x: float
    y: float


Segment = tuple[tuple[float, float], tuple[float, float]]
"""A line between two points, in the units of its axes."""


def label_points(
    ax: Axes, marks: Sequence[Mark], *, looks: Mapping[str, Look], segments: Sequence[Segment] = ()
) -> None:
    """Writes each mark's name beside it, where it covers no mark and no other name; the rest goes into a key.

    Args:
        ax: the only axes of its figure, with everything else drawn.
        marks: the points.
        looks: colour and marker of each, for the key.
        segments: lines that labels should rather not cross, such as whiskers.
    """
    figure = _figure_of(ax)
    without: list[str] = []
    for _ in range(len(marks) + 1):
        settle(figure)
        places = _places(ax, marks, segments, [mark.name not in without for mark in marks])
        missing = [mark.name for mark, place in zip(marks, places, strict=True) if place is None]
        if set(missing) <= set(without):
            break
        without = missing
        key_below(figure, without, looks)
    freeze(figure)
    for mark, place in zip(marks, places, strict=True):
        if place is not None:
            _write(ax, mark, place)


def _figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes are on no figure")
    return figure


def settle(figure: Figure) -> None:
    """Lets the layout find the places of all axes."""
    for ax in figure.axes:
        _ = ax.get_xlim(), ax.get_ylim()  # limits follow the data when asked for
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def freeze(figure: Figure) -> None:
    """Keeps the axes where they are: labels that are placed by their surroundings must not move them."""
    settle(figure)
    figure.set_layout_engine("none")


def text_size(figure: Figure, text: str, points: float = POINTS) -> tuple[float, float]:
    """Width and height of a text in points; lines apart by a line break."""
    from matplotlib.font_manager import FontProperties

    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    font = FontProperties(size=points)
    lines = text.split("\n")
    widths = [renderer.get_text_width_height_descent(line, font, False)[0] for line in lines]
    return max(widths) * 72 / figure.dpi, points * 1.2 * len(lines)


def _places(
    ax: Axes, marks: Sequence[Mark], segments: Sequence[Segment], wanted: Sequence[bool]
) -> list[tuple[Boxes, bool] | None]:
    """A box for each label in points, and whether a line must lead to it; None where there is no room."""
    figure = _figure_of(ax)
    scale = 72 / figure.dpi

    def points(pairs: Sequence[tuple[float, float]]) -> Boxes:
        moved: Boxes = np.asarray(ax.transData.transform(np.asarray(pairs, dtype=float).reshape(-1, 2))) * scale
        return moved

    anchors = points([(mark.x, mark.y) for mark in marks])
    sizes = [text_size(figure, mark.name) for mark in marks]
    hard = np.column_stack([anchors - _MARK, anchors + _MARK])
    ends = points([end for segment in segments for end in segment]).reshape(-1, 2, 2)
    soft = np.column_stack([ends.min(axis=1), ends.max(axis=1)])
    bounds = np.asarray(ax.bbox.extents) * scale
    # A label that finds no room goes first in the next attempt.
    order = [at for at in np.argsort(_crowding(anchors))[::-1] if wanted[at]]
    best: list[tuple[Boxes, bool] | None] = []
    for _ in range(max(len(order), 1)):
        found = _attempt(order, anchors, sizes, hard, soft, bounds)
        lost = [at for at in order if found[at] is None]
        if not best or sum(place is None for place in found) < sum(place is None for place in best):
            best = found
        if not lost:
            break
        order = lost + [at for at in order if at not in lost]
    return best


def _crowding(anchors: Boxes) -> NDArray[np.float64]:
    """How near to others each point is."""
    distance = np.hypot(*(anchors[:, None] - anchors[None]).transpose(2, 0, 1))
    crowding: NDArray[np.float64] = np.exp(-distance / 30).sum(axis=1)
    return crowding


def _attempt(
    order: Sequence[int],
    anchors: Boxes,
    sizes: Sequence[tuple[float, float]],
    hard: Boxes,
    soft: Boxes,
    bounds: Boxes,
) -> list[tuple[Boxes, bool] | None]:
    """Places labels one after another, each at its cheapest place that is free."""
    places: list[tuple[Boxes, bool] | None] = [None] * len(anchors)
    labels = np.empty((0, 4))
    leaders = np.empty((0, 2))
    for at in order:
        candidates, rings = _candidates(anchors[at], sizes[at])
        others = np.delete(hard, at, axis=0)
        free = (candidates[:, 0] >= bounds[0]) & (candidates[:, 2] <= bounds[2])
        free &= (candidates[:, 1] >= bounds[1]) & (candidates[:, 3] <= bounds[3])
        free &= ~_overlap(candidates, np.vstack([hard, labels])).any(axis=1)
        free &= ~_overlap(candidates, np.hstack([leaders, leaders])).any(axis=1)
        paths = [_path(anchors[at], box) for box in candidates]
        barred = np.vstack([others, labels])
        led = np.array([bool(_overlap(np.hstack([path, path]), barred).any()) for path in paths])
        free &= ~(led & (rings > 0))
        cost = rings + _CROSSES * _overlap(candidates, soft).sum(axis=1) + np.arange(len(rings)) * 1e-3
        if not free.any():
            continue
        choice = int(np.where(free, cost, np.inf).argmin())
        places[at] = (candidates[choice], bool(rings[choice] > 0))
        labels = np.vstack([labels, candidates[choice] + np.concatenate([-_GAP, _GAP])])
        if rings[choice] > 0:
            leaders = np.vstack([leaders, paths[choice]])
    return places


def _candidates(anchor: Boxes, size: tuple[float, float]) -> tuple[Boxes, NDArray[np.int_]]:
    """Boxes around a mark, and the ring of each."""
    half = np.array(size) / 2
    boxes, rings = [], []
    for ring, distance in enumerate(_RINGS):
        for direction in _DIRECTIONS:
            reach = half + _MARK + distance
            centre = anchor + np.array(direction) * (reach if 0 in direction else half + (_MARK + distance) * 0.75)
            boxes.append(np.concatenate([centre - half, centre + half]))
            rings.append(ring)
    return np.array(boxes), np.array(rings)


def _path(anchor: Boxes, box: Boxes) -> Boxes:
    """Points on the line that leads from a mark to the nearest point of a box."""
    nearest = np.clip(anchor, box[:2], box[2:])
    path: Boxes = anchor + np.linspace(0.1, 0.98, 12)[:, None] * (nearest - anchor)
    return path


def _overlap(boxes: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """Whether each box overlaps each other one: (boxes, others)."""
    a, b = boxes[:, None], others[None]
    inside: NDArray[np.bool_] = np.concatenate([a[..., :2] < b[..., 2:], a[..., 2:] > b[..., :2]], axis=-1)
    return np.asarray(inside.all(axis=-1))


def _write(ax: Axes, mark: Mark, place: tuple[Boxes, bool]) -> None:
    from matplotlib.transforms import Affine2D

    box, led = place
    figure = _figure_of(ax)
    pixels = Affine2D().scale(1 / 72) + figure.dpi_scale_trans
    if led:
        anchor = pixels.inverted().transform(ax.transData.transform((mark.x, mark.y)))
        path = _path(np.asarray(anchor), box)
        ax.plot(*path[[0, -1]].T, transform=pixels, color="#8c8c8c", lw=0.5, zorder=2, marker="", gid="leader")
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    ax.text(
        x,
        y,
        mark.name,
        transform=pixels,
        ha="center",
        va="center_baseline",
        zorder=4,
        in_layout=False,
        gid="label",
    )


def label_ends(ax: Axes, ends: Sequence[Mark], *, looks: Mapping[str, Look], lines: bool = True) -> None:
    """Writes each line's name to the right of its end, spread so that none covers another; else makes a key.

    Args:
        ax: the only axes of its figure, with everything else drawn.
        ends: the last point of each line.
        looks: of each line.
        lines: the key shows lines, not marks alone.
    """
    if not ends:
        return
    figure = _figure_of(ax)
    widest = max(text_size(figure, mark.name)[0] for mark in ends)
    step = POINTS * 1.2
    settle(figure)
    room = ax.bbox.height * 72 / figure.dpi
    if widest > _WIDEST_ENDS * 72 * figure.get_figwidth() or step * len(ends) > room:
        key_below(figure, [mark.name for mark in ends], looks, lines=lines)
        return
    texts = [
        ax.annotate(
            mark.name,
            (mark.x, mark.y),
            xytext=(1.0, mark.y),
            textcoords=ax.get_yaxis_transform(),
            va="center_baseline",
            gid="label",
            arrowprops={"arrowstyle": "-", "color": looks[mark.name].colour, "lw": 0.5, "shrinkA": 1, "shrinkB": 2},
            annotation_clip=False,
        )
        for mark in ends
    ]
    gap = 9 / (ax.bbox.width * 72 / figure.dpi)
    for text in texts:
        text.set_x(1 + gap)
    freeze(figure)
    low, high = ax.bbox.y0 * 72 / figure.dpi, ax.bbox.y1 * 72 / figure.dpi
    wanted = ax.transData.transform([(mark.x, mark.y) for mark in ends])[:, 1] * 72 / figure.dpi
    for text, height in zip(texts, spread(wanted, step, low, high), strict=True):
        text.set_y(float(ax.transData.inverted().transform((0, height * figure.dpi / 72))[1]))


def spread(wanted: NDArray[np.float64], step: float, low: float, high: float) -> NDArray[np.float64]:
    """Heights at least `step` apart and within bounds, each as near to the wanted one as the order allows.

    >>> spread(np.array([5.0, 5.0, 20.0]), 4.0, 0.0, 30.0).tolist()
    [3.0, 7.0, 20.0]
    """
    order = np.argsort(wanted, kind="stable")
    # Groups of labels that touch move as one: each is [sum of (wanted - rank * step), members].
    groups: list[list[float]] = []
    for rank, at in enumerate(order):
        groups.append([wanted[at] - rank * step, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] >= groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    starts = np.repeat([total / count for total, count in groups], [int(count) for _, count in groups])
    starts = np.clip(starts, low + step / 2, max(high - step / 2 - (len(order) - 1) * step, low + step / 2))
    heights = np.empty(len(order))
    heights[order] = starts + np.arange(len(order)) * step
    return heights


def key_below(figure: Figure, names: Sequence[str], looks: Mapping[str, Look], *, lines: bool = False) -> None:
    """A key of methods under the axes, which become no smaller: the figure grows."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=looks[name].colour,
            marker=looks[name].marker,
            linestyle=_line(looks[name]) if lines else "",
        )
        for name in names
    ]
    handles_below(figure, handles, names, handle=2.4 if lines else 0.8)


def _line(look: Look) -> Any:
    return (0, look.dashes) if look.dashes else "-"


def handles_below(figure: Figure, handles: Sequence[Any], names: Sequence[str], *, handle: float = 1.2) -> None:
    """A key of any handles under the axes, in as many columns as fit; replaces the one before."""
    for legend in list(figure.legends):
        figure.set_figheight(figure.get_figheight() - float(str(legend.get_label())))
        legend.remove()
    if not names:
        return
    sizes = [text_size(figure, name) for name in names]
    room = figure.get_figwidth() * 72 - 8
    column = max(width for width, _ in sizes) + (handle + 0.5 + 1.2) * POINTS
    columns = int(min(max(room // column, 1), len(names)))
    rows = -(-len(names) // columns)
    height = (rows * max(tall for _, tall in sizes) * 1.1 + 8) / 72
    figure.set_figheight(figure.get_figheight() + height)
    legend = figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=columns,
        handlelength=handle,
        handletextpad=0.5,
        columnspacing=1.2,
        labelspacing=0.2,
        borderaxespad=0.2,
    )
    legend.set_label(str(height))  # by so much it made the figure higher


def fitting(text: str, inches: float) -> str:
    """A text in lines that are about as long as there is room for."""
    return wrapped(text, max(int(inches * 72 / (POINTS * 0.56)), 8))


def wrapped(name: str, most: int) -> str:
    r"""A name in lines of at most so many characters, broken after [ , / - and spaces if it can be.

    A unit in round brackets stays whole.

    >>> wrapped("lora[r=16,alpha=32]", 12)
    'lora[r=16,\nalpha=32]'
    """
    if len(name) <= most:
        return name
    pieces: list[str] = []
    for letter in name:
        if not pieces or pieces[-1][-1] in "[,/- ":
            pieces.append("")
        pieces[-1] += letter
    lines = [""]
    for piece in pieces:
        while len(piece) > most:
            head, piece = piece[:most], piece[most:]
            lines += [head]
        if len(lines[-1] + piece) <= most:
            lines[-1] += piece
        else:
            lines.append(piece)
    return "\n".join(line.strip() for line in lines if line)
