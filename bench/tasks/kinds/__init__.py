"""The kinds of task, found by name: every file of this folder that has a `KIND` adds one.

To add a kind, write such a file; no other file names it. `tests/bench/tasks/test_kinds.py` holds it to the contract.
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
    """Every kind, by its name.

    >>> sorted(kinds())
    ['classes', 'regression']
    """
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    found: list[Kind] = [module.KIND for module in modules if hasattr(module, "KIND")]
    return {kind.name: kind for kind in found}


def kind_named(name: str) -> Kind:
    """The kind of this name.

    Raises:
        ValueError: there is none; the message names those most like it.
    """
    known = kinds()
    if name not in known:
        raise ValueError(f"there is no kind of task {name!r}{near(name, known)} (there is {', '.join(sorted(known))})")
    return known[name]


def kind_of_types(types: AbstractSet[type], name: str | None = None) -> Kind:
    """The kind of a task whose labels are of these types.

    Args:
        types: of all labels.
        name: of the kind, where the task says it; None finds it in the types.

    Raises:
        ValueError: some labels are numbers and some are strings, or no kind claims them, or there is none of that name.

    >>> kind_of_types({int, float}).name
    'regression'
    """
    if types > {str}:
        raise ValueError("some labels are numbers and some are strings")
    if name is not None:
        return kind_named(name)
    claiming = [kind for kind in kinds().values() if kind.claims(types)]
    if len(claiming) != 1:
        listed = ", ".join(sorted(one.__name__ for one in types))
        raise ValueError(f"labels of type {listed} do not tell the kind of task: name it, kind=...")
    return claiming[0]


def kind_of_outputs(outputs: int) -> Kind:
    """The kind that a head with so many outputs has where nothing else is known, as in `bench inspect`.

    Args:
        outputs: 1 or more.

    Raises:
        ValueError: no kind has such a head.
    """
    fitting = [kind for kind in kinds().values() if kind.fits(outputs)]
    if len(fitting) != 1:
        raise ValueError(f"no kind of task has a head with {outputs} outputs")
    return fitting[0]


def score_named(name: str) -> Score | None:
    """What is declared of the score of this name, whatever kind has it; None where no kind has it.

    >>> score_named("matthews").low
    -1.0
    """
    return next((score for kind in kinds().values() for score in kind.scores if score.name == name), None)
