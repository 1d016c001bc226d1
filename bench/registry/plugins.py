"""Loads objects that others wrote: from a Python file, from an installed package, or from the package peft."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError, near
from methods.kit.loading import file_digest, load_file, said

if TYPE_CHECKING:
    from methods.kit.base import Method


def is_file(name: str) -> bool:
    """Tells whether a name means an object in a Python file, such as `file.py:Class`."""
    return ".py:" in name


def from_file(name: str) -> tuple[Any, str]:
    """Loads the object of `file.py:Name`.

    Returns:
        The object, and `sha256:...` of the file.

    Raises:
        UserError: there is no such file, the file does not import, or it has no such name.
    """
    place, _, attribute = name.rpartition(":")
    path = Path(place).expanduser()
    try:
        module = load_file(path)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not hasattr(module, attribute):
        public = [defined for defined in vars(module) if not defined.startswith("_")]
        raise UserError(f"{place} has no {attribute!r}{near(attribute, public)}")
    return getattr(module, attribute), f"sha256:{file_digest(path)}"


def entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """Returns name -> entry point for all entry points of a group, without importing what they name."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=group)}


def from_package(entry: importlib.metadata.EntryPoint) -> tuple[Any, str]:
    """Loads the object that an entry point names.

    Returns:
        The object, and `distribution==version`.

    Raises:
        UserError: the object does not import, or two packages offer the same name; the message names the packages.
    """
    source = origin(entry)
    # Which of two packages wins would depend on the order of installation.
    rivals = sorted({origin(other) for other in importlib.metadata.entry_points(group=entry.group, name=entry.name)})
    if len(rivals) > 1:
        raise UserError(f"{entry.name!r} is offered by {' and '.join(rivals)}; remove one of them")
    try:
        return entry.load(), source
    except (Exception, SystemExit) as error:  # importing runs an author's code, which may raise anything
        raise UserError(f"{entry.name!r} of package {source} does not load: {said(error)}") from error


def is_peft(name: str) -> bool:
    """Tells whether a name means a method of the package peft, such as `peft:lora`."""
    return name.startswith("peft:")


def from_peft(name: str) -> tuple[type[Method], str]:
    """Returns the class that stands for `peft:TYPE`, and `peft==VERSION`.

    Raises:
        UserError: peft is not installed, has no such type, or cannot insert it into a model.
    """
    from methods.kit.peft_bridge import method_class
    from methods.kit.peft_types import PREFIX, kinds

    kind = name.removeprefix(PREFIX)
    try:
        return method_class(kind), f"peft=={importlib.metadata.version('peft')}"
    except ValueError as error:
        raise UserError(f"{error}{near(kind, kinds()) if 'no such type' in str(error) else ''}") from error


def is_peft_file(name: str) -> bool:
    """Tells whether a name means a saved configuration of peft: an adapter_config.json, or a folder with one."""
    path = Path(name).expanduser()
    return name.endswith(".json") or (path / "adapter_config.json").is_file()


def from_peft_file(name: str) -> tuple[str, dict[str, Any]]:
    """Returns the `peft:TYPE` of a saved configuration, and the hyper-parameters that it sets.

    Raises:
        UserError: the file is no configuration of peft, or sets a field that tunebench does not support.
    """
    from methods.kit.peft_types import PREFIX, read_config

    try:
        kind, values = read_config(Path(name).expanduser())
    except ValueError as error:
        raise UserError(str(error)) from error
    return f"{PREFIX}{kind}", values


def origin(entry: importlib.metadata.EntryPoint) -> str:
    """Returns `distribution==version` for the package of an entry point."""
    if entry.dist is None:
        return entry.value
    return f"{entry.dist.name}=={entry.dist.version}"
