"""Which figures there are: every module of a folder, discovered."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, Literal

from reports.figures.drawing import Drawing

Folder = Literal["comparison", "sizes", "tuning", "gates"]
LAST = 100
"""The order of a module that names none."""


@cache
def modules(folder: Folder) -> tuple[ModuleType, ...]:
    """The figures of a folder in the order that they are shown in.

    A module has `drawings(source, width)`, which yields what the source allows at a width in inches, and may have a
    number `ORDER`.

    Raises:
        TypeError: a module has no function `drawings`.
    """
    package = importlib.import_module(f"reports.figures.{folder}")
    every = [
        importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    ]
    for module in every:
        if not callable(getattr(module, "drawings", None)):
            raise TypeError(f"{module.__file__}: a figure needs a function `drawings(source, width)`")
    return tuple(sorted(every, key=lambda module: (getattr(module, "ORDER", LAST), module.__name__)))


def drawings(folder: Folder, source: object, width: float) -> Iterator[Drawing]:
    """All figures of a folder that a source allows.

    Args:
        folder: where the modules lie.
        source: what they draw: a `Setting` for `comparison` and `sizes`, a `Tuning` for `tuning`, a `GateSource` for
            `gates`.
        width: in inches.
    """
    for module in modules(folder):
        make: Callable[[Any, float], Iterator[Drawing]] = module.drawings
        yield from make(source, width)
