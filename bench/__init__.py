"""How a method is run and measured. Plug-in authors import from here alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from methods.base import Method, Part
    from methods.gates import Gate
    from tasks import Folder, HubData, Row, Rows, Task

__all__ = ["Folder", "Gate", "HubData", "Method", "Part", "Row", "Rows", "Task"]

_HOMES = {
    "Method": "methods.base",
    "Part": "methods.base",
    "Gate": "methods.gates",
    "Task": "tasks",
    "Folder": "tasks",
    "HubData": "tasks",
    "Row": "tasks",
    "Rows": "tasks",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first asked for: torch costs seconds, `bench --help` must not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
