"""How a method is run and measured. Plug-in authors import from here alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.tasks import Folder, HubData, Row, Rows, Task, Wheel
    from methods.kit.base import Method
    from methods.kit.gates import Gate
    from methods.kit.parts import Part

__all__ = ["Folder", "Gate", "HubData", "Method", "Part", "Row", "Rows", "Task", "Wheel"]

_HOMES = {
    "Method": "methods.kit.base",
    "Part": "methods.kit.parts",
    "Gate": "methods.kit.gates",
    "Task": "bench.tasks",
    "Folder": "bench.tasks",
    "HubData": "bench.tasks",
    "Row": "bench.tasks",
    "Rows": "bench.tasks",
    "Wheel": "bench.tasks",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first asked for: torch costs seconds, `bench --help` must not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
