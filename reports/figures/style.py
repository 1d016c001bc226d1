"""How methods look: colour and marker of their own, readable in grey and by the colour-blind."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_INCHES = 3.35
"""Width of a paper's column."""


@dataclass(frozen=True)
class Look:
    """Colour, marker, dashes of a method; `dark` is its colour on a dark ground."""

    colour: str
    dark: str
    marker: str
    dashes: tuple[float, ...] = ()


# Okabe and Ito's palette, its yellow darkened to be seen on white, and three of Tol's muted scheme.
_PALETTE = (
    ("#1b1b1b", "#f2f2f2"),
    ("#0072b2", "#56a8e0"),
    ("#d55e00", "#f08a45"),
    ("#009e73", "#35c79f"),
    ("#cc79a7", "#e39ac3"),
    ("#56b4e9", "#8fd0f7"),
    ("#b8860b", "#e6b93f"),
    ("#882255", "#c66a9b"),
    ("#7f7f7f", "#a6a6a6"),
    ("#6b6b2e", "#b5b56a"),
    ("#44aa99", "#7fd3c5"),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "h")
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1, 1), (5, 1, 1, 1), (3, 1, 1, 1, 1, 1))
_FIXED = (
    "full",
    "adapter",
    "unipelt-apl",
    "lora",
    "prefix",
    "bitfit",
    "unipelt-ap",
    "unipelt",
    "head",
    "majority",
)
"""Names that papers compare again and again keep their colour from one paper to the next."""


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """A look for each method, the same whatever stands beside it unless two names compete for one.

    Variants of one method (`lora[r=4]`, `lora[r=8]`) share its colour and differ in marker and dashes.
    """
    families = sorted({_family(method) for method in methods})
    slots = {name: _FIXED.index(name) for name in families if name in _FIXED}
    for name in families:
        if name not in slots:
            free = [slot for slot in range(len(_PALETTE)) if slot not in slots.values()] or list(range(len(_PALETTE)))
            slots[name] = free[zlib.crc32(name.encode()) % len(free)]
    found: dict[str, Look] = {}
    for name in families:
        for variant, method in enumerate(sorted({m for m in methods if _family(m) == name})):
            colour, dark = _PALETTE[slots[name]]
            marker = _MARKERS[(slots[name] + 3 * variant) % len(_MARKERS)]
            found[method] = Look(colour, dark, marker, _DASHES[(slots[name] + variant) % len(_DASHES)])
    return found


def _family(method: str) -> str:
    return method.partition("[")[0].partition(" ")[0]


@contextmanager
def paper() -> Iterator[None]:
    """Fonts and lines that fit a paper's column; text stays text in SVG and PDF."""
    import matplotlib

    settings: dict[Any, Any] = {
        "font.size": 7,
        "axes.titlesize": 7.5,
        "axes.labelsize": 7,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "legend.fontsize": 6.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.1,
        "lines.markersize": 4.5,
        "axes.grid": True,
        "grid.linewidth": 0.3,
        "grid.color": "#dddddd",
        "axes.axisbelow": True,
        "svg.fonttype": "none",
        "svg.hashsalt": "tunebench",
        "pdf.fonttype": 42,
        "text.parse_math": False,  # names of methods and tasks are no formulas
        "font.family": "sans-serif",
    }
    with matplotlib.rc_context(settings):
        yield


def figure(*, width: float = COLUMN_INCHES, height: float = 2.6) -> tuple[Figure, Axes]:
    """An empty figure of a size in inches, outside pyplot's global state."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, drawn.add_subplot()


def legend_below(ax: Axes, *, columns: int = 4) -> None:
    """The legend under the axes, where it covers no point."""
    from matplotlib.container import BarContainer

    handles, labels = ax.get_legend_handles_labels()
    handle = 1.2 if any(isinstance(item, BarContainer) for item in handles) else 2.2
    if handles:
        ax.figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, handlelength=handle, columnspacing=0.9
        )
