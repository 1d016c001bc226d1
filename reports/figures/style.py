"""The theme of all figures: sizes, fonts, colours, and the colour and marker of each method."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from bench.errors import UserError

COLUMN_INCHES = 3.3
"""Width of a column of a paper that is set in two."""
PAGE_INCHES = 6.9
"""Width of a figure across both columns."""
POINTS = 8.0
"""Size of all text at the width that a figure is drawn at; titles are half a point larger."""

Theme = Literal["light", "print"]
"""`light` is for screens: grey grid, soft black. `print` is for paper: black on white without a grid."""

_WIDTHS = {"column": COLUMN_INCHES, "page": PAGE_INCHES}
_LEAST_INCHES, _MOST_INCHES = 2.5, 20.0


def width_of(text: str) -> float:
    """The width in inches that a user asked for: `column`, `page`, or a number of inches.

    Raises:
        UserError: neither a name nor a number that a figure can be drawn at.

    >>> width_of("column"), width_of("5.5")
    (3.3, 5.5)
    """
    try:
        width = _WIDTHS[text] if text in _WIDTHS else float(text)
    except ValueError:
        width = 0.0
    if not _LEAST_INCHES <= width <= _MOST_INCHES:
        names = ", ".join(f"{name} ({inches} in)" for name, inches in _WIDTHS.items())
        raise UserError(
            f"--figure-width {text}: {names}, or a number of inches from {_LEAST_INCHES:g} to {_MOST_INCHES:g}"
        )
    return width


@dataclass(frozen=True)
class Paper:
    """What figures are drawn for: their width in inches, and the theme."""

    width: float = COLUMN_INCHES
    theme: Theme = "light"


def paper_of(width: str, theme: str) -> Paper:
    """What a user asked for by `--figure-width` and `--figure-theme`.

    Raises:
        UserError: no such width or theme.
    """
    themes: dict[str, Theme] = {"light": "light", "print": "print"}
    if theme not in themes:
        raise UserError(f"--figure-theme {theme}: light or print")
    return Paper(width_of(width), themes[theme])


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

PARTS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
"""Colours of what is not a method: the parts of a gated method, kinds of memory."""


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """A look for each method, the same whatever stands beside it unless two names compete for one.

    Variants of one method (`lora[r=4]`, `lora[r=8]`) share its colour and differ in marker and dashes. From the
    twelfth method on colours repeat, with other markers.
    """
    families = sorted({_family(method) for method in methods})
    slots = {name: _FIXED.index(name) for name in families if name in _FIXED}
    for name in families:
        if name not in slots:
            uses = [list(slots.values()).count(slot) for slot in range(len(_PALETTE))]
            free = [slot for slot, count in enumerate(uses) if count == min(uses)]
            slots[name] = free[zlib.crc32(name.encode()) % len(free)]
    styles: dict[str, Look] = {}
    taken: set[tuple[int, str]] = set()
    for name in families:
        slot = slots[name]
        for variant, method in enumerate(sorted({m for m in methods if _family(m) == name})):
            order = [_MARKERS[(slot + 3 * step) % len(_MARKERS)] for step in range(variant, variant + len(_MARKERS))]
            marker = next((marker for marker in order if (slot, marker) not in taken), order[0])
            taken.add((slot, marker))
            styles[method] = Look(*_PALETTE[slot], marker, _DASHES[(slot + variant) % len(_DASHES)])
    return styles


def _family(method: str) -> str:
    return method.partition("[")[0].partition(" ")[0]


@contextmanager
def themed(theme: Theme = "light") -> Iterator[None]:
    """Seaborn's theme for a figure, with our sizes and colours; what was set before returns at the end."""
    import matplotlib
    import seaborn as sns

    ink, grid = ("#262626", "#e4e4e4") if theme == "light" else ("#000000", "#ffffff")
    settings: Any = {
        **sns.axes_style("whitegrid" if theme == "light" else "ticks"),
        **sns.plotting_context("paper"),
        "font.size": POINTS,
        "axes.titlesize": POINTS + 0.5,
        "axes.labelsize": POINTS,
        "xtick.labelsize": POINTS,
        "ytick.labelsize": POINTS,
        "legend.fontsize": POINTS,
        "legend.title_fontsize": POINTS,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "text.color": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.linewidth": 0.6,
        "axes.titlepad": 3.0,
        "axes.labelpad": 2.0,
        "xtick.bottom": True,
        "xtick.major.size": 2.5,
        "xtick.major.width": 0.6,
        "xtick.minor.size": 1.5,
        "xtick.minor.width": 0.4,
        "xtick.major.pad": 2.0,
        "ytick.left": True,
        "ytick.major.size": 2.5,
        "ytick.major.width": 0.6,
        "ytick.major.pad": 2.0,
        "ytick.minor.size": 0.0,
        "lines.linewidth": 1.1,
        "lines.markersize": 4.5,
        "axes.grid": theme == "light",
        "grid.linewidth": 0.4,
        "grid.color": grid,
        "axes.axisbelow": True,
        "hatch.linewidth": 0.5,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "tunebench",  # the same bytes each time
        "pdf.fonttype": 42,  # fonts are embedded, as publishers ask for
        "ps.fonttype": 42,
        "text.parse_math": False,  # names of methods and tasks are no formulas
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Arial", "Liberation Sans", "sans-serif"],
    }
    with matplotlib.rc_context(settings):
        yield
