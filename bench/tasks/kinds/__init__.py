"""Finds the kinds of task by name. Every file of this folder that defines `KIND` adds one.

To add a kind, write such a file; no other file names it. `tests/bench/tasks/test_kinds.py` tests it against the
contract.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from bench.errors import near
from bench.tasks.kinds.kind import Kind, Label, Score, Target

__all__ = [
    "Kind",
    "Label",
    "Score",
    "Target",
    "kind_named",
    "kind_of_outputs",
    "kind_of_types",
    "kinds",
    "score_named",
]


@cache
def kinds() -> dict[str, Kind]:
    """Returns name -> kind for all kinds.

    >>> sorted(kinds())
    ['classes', 'regression']
    """
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {module.KIND.name: module.KIND for module in modules if hasattr(module, "KIND")}


def kind_named(name: str) -> Kind:
    """Returns the kind with this name.

    Raises:
        ValueError: there is none; the message names similar ones.
    """
    by_name = kinds()
    if name not in by_name:
        listed = ", ".join(sorted(by_name))
        raise ValueError(f"there is no kind of task {name!r}{near(name, by_name)} (there is {listed})")
    return by_name[name]


def kind_of_types(types: AbstractSet[type], name: str | None = None) -> Kind:
    """Returns the kind of a task, given the types of its labels.

    Args:
        types: the types of all labels.
        name: the name of the kind if the task states it; None: the kind that claims these types.

    Raises:
        ValueError: some labels are numbers and some are strings, no kind claims the types, or there is no kind with
            that name.

    >>> kind_of_types({int, float}).name
    'regression'
    """
    if types > {str}:  # strings, and something else as well
        raise ValueError("some labels are numbers and some are strings")
    if name is not None:
        return kind_named(name)
    claiming = [kind for kind in kinds().values() if kind.claims(types)]
    if len(claiming) != 1:
        listed = ", ".join(sorted(one.__name__ for one in types))
        raise ValueError(f"labels of type {listed} do not tell the kind of task: name it, kind=...")
    return claiming[0]


def kind_of_outputs(outputs: int) -> Kind:
    """Returns the kind for a head with this many outputs. It is used where there is no task, as in `bench inspect`.

    Args:
        outputs: the number of outputs, 1 or more.

    Raises:
        ValueError: no kind has such a head.
    """
    fitting = [kind for kind in kinds().values() if kind.fits(outputs)]
    if len(fitting) != 1:
        raise ValueError(f"no kind of task has a head with {outputs} outputs")
    return fitting[0]


def score_named(name: str) -> Score | None:
    """Returns the declaration of a score, whichever kind has it; None if no kind has a score with this name.

    >>> score_named("matthews").low
    -1.0
    """
    return next((score for kind in kinds().values() for score in kind.scores if score.name == name), None)
