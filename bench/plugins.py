"""The doors through which methods and tasks of others come in: a Python file, or an installed package."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import UserError


def is_file(name: str) -> bool:
    """Whether a name means an object in a Python file, as `file.py:Class`."""
    return ".py:" in name


def from_file(name: str) -> tuple[Any, str]:
    """Loads the object of `file.py:Name`.

    Returns:
        The object, and `sha256:...` of the file.

    Raises:
        UserError: no such file or name, or the file does not import.
    """
    place, _, attribute = name.rpartition(":")
    path = Path(place)
    if not path.is_file():
        raise UserError(f"{place}: no such file")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    module = _imported(path, digest)
    if not hasattr(module, attribute):
        public = [known for known in vars(module) if not known.startswith("_")]
        raise UserError(f"{place} has no {attribute!r}{near(attribute, public)}")
    return getattr(module, attribute), f"sha256:{digest}"


def _imported(path: Path, digest: str) -> ModuleType:
    """The file as a module, imported once a content."""
    module_name = f"tunebench_file_{path.stem}_{digest[:12]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UserError(f"{path} does not import: {type(error).__name__}: {error}") from error
    return module


def entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """What installed packages offer, by name, without importing any of it."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=group)}


def from_package(entry: importlib.metadata.EntryPoint) -> tuple[Any, str]:
    """Loads what an entry point names.

    Returns:
        The object, and `distribution==version`.

    Raises:
        UserError: it does not import; the line names the package.
    """
    source = origin(entry)
    try:
        return entry.load(), source
    except Exception as error:
        raise UserError(f"{entry.name!r} of package {source} does not load: {type(error).__name__}: {error}") from error


def origin(entry: importlib.metadata.EntryPoint) -> str:
    """`distribution==version` of an entry point."""
    if entry.dist is None:
        return entry.value
    return f"{entry.dist.name}=={entry.dist.version}"


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the known names most like `name`, or nothing."""
    matches = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
