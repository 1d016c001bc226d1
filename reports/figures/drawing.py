"""A figure that can be drawn, and the one writer of all figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from reports.figures.style import Theme, themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = ("svg", "pdf", "png")
PNG_DPI = 300
_STAMPS: dict[Format, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
"""No file carries the time at which it was written, so that equal figures are equal files."""


@dataclass(frozen=True)
class Drawing:
    """A figure, ready to be drawn.

    Attributes:
        name: of its file; what is no letter, digit or underscore becomes a hyphen.
        caption: one sentence that says how to read the figure and what it shows here.
        draw: takes an empty figure and draws on it; it may make the figure higher, never wider.
        width: in inches.
        height: in inches.
    """

    name: str
    caption: str
    draw: Callable[[Figure], object]
    width: float
    height: float

    @property
    def file(self) -> str:
        """The name of its file, without suffix."""
        return slug(self.name)


class Written(NamedTuple):
    """A drawing and its files, one for each format."""

    drawing: Drawing
    paths: tuple[Path, ...]


def write(
    drawings: Iterable[Drawing], folder: Path, formats: Sequence[Format], *, theme: Theme = "light"
) -> list[Written]:
    """Draws each figure once and writes it in each format.

    Args:
        drawings: the figures; two whose names give one file name are told apart by a number.
        folder: is made if it does not exist.
        formats: which files to write.
        theme: for a screen or for paper.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Written] = []
    taken: set[str] = set()
    for drawing in drawings:
        names = (drawing.file if copy == 1 else f"{drawing.file}-{copy}" for copy in range(1, len(taken) + 2))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        paths = []
        with themed(theme):
            figure = drawn(drawing)
            for kind in formats:
                path = folder / f"{name}.{kind}"
                figure.savefig(path, dpi=PNG_DPI, metadata=_STAMPS[kind])
                paths.append(path)
        written.append(Written(drawing, tuple(paths)))
    return written


def drawn(drawing: Drawing) -> Figure:
    """The figure itself, outside the global state of pyplot; to be called within `themed`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(drawing.width, drawing.height), layout="constrained")
    FigureCanvasAgg(figure)  # measures text
    drawing.draw(figure)
    return figure


def slug(text: str) -> str:
    """A piece of a file name.

    >>> slug("minilm-l6, K=100")
    'minilm-l6-k-100'
    """
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-") or "x"
