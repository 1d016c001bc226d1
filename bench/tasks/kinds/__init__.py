"""Finds the kinds of task by name. Every file of this folder that defines `KIND` adds one.

To add a kind, write such a file; no other file names it. Installed packages add kinds through entry points.
`bench.check_kind` tests a kind against the contract.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules

from bench.errors import described, near
from bench.tasks.kinds.kind import Kind, Label, Score, Target

__all__ = [
    "KIND_GROUP",
    "Kind",
    "Label",
    "Score",
    "Target",
    "kind_named",
    "kind_of_outputs",
    "kind_of_types",
    "kinds",
    "score_named",
    "shipped_kinds",
]


KIND_GROUP = "tunebench.kinds"
"""The group of entry points by which packages add kinds. An entry point names an instance of `Kind`."""


@cache
def shipped_kinds() -> dict[str, Kind]:
    """Returns name -> kind for the kinds of this folder.

    >>> sorted(shipped_kinds())
    ['classes', 'regression']
    """
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {module.KIND.name: module.KIND for module in modules if hasattr(module, "KIND")}


@cache
def kinds() -> dict[str, Kind]:
    """Returns name -> kind for the kinds of this folder and of installed packages.

    A kind of a package that cannot be used is left out, since it must not disturb tasks of other kinds. `kind_named`
    gives the reason.
    """
    usable = dict(shipped_kinds())
    for entry in entry_points(group=KIND_GROUP):
        with suppress(ValueError):
            usable.setdefault(entry.name, _of_package(entry))
    return usable


def kind_named(name: str) -> Kind:
    """Returns the kind with this name.

    Raises:
        ValueError: there is none, and the message names similar ones; or a package's kind does not load.
    """
    by_name = kinds()
    if name in by_name:
        return by_name[name]
    for entry in entry_points(group=KIND_GROUP, name=name):
        _of_package(entry)  # raises the reason why it was left out
    listed = ", ".join(sorted(by_name))
    raise ValueError(f"there is no kind of task {name!r}{near(name, by_name)} (there is {listed})")


def _of_package(entry: EntryPoint) -> Kind:
    """Loads the kind that an entry point names.

    Raises:
        ValueError: it does not load, is no kind, or has another name than the entry point.
    """
    place = f"kind {entry.name!r} of {entry.value}"
    try:
        kind = entry.load()
    except (Exception, SystemExit) as error:  # importing runs an author's code, which may raise anything
        raise ValueError(f"{place} does not load: {described(error)}") from error
    if not isinstance(kind, Kind):
        raise ValueError(f"{place} is no instance of bench.Kind; write KIND = MyKind() in the file and name KIND")
    if kind.name != entry.name:
        raise ValueError(f"{place} calls itself {kind.name!r}; give both the same name")
    return kind


def kind_of_types(types: AbstractSet[type], name: str | None = None) -> Kind:
    """Returns the kind of a task, given the types of its labels.

    Args:
        types: the types of all labels.
        name: the name of the kind if the task states it; None: the shipped kind that claims these types, so that
            installing a package changes no task.

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
    claiming = [kind for kind in shipped_kinds().values() if kind.claims(types)]
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
    fitting = [kind for kind in shipped_kinds().values() if kind.fits(outputs)]
    if len(fitting) != 1:
        raise ValueError(f"no kind of task has a head with {outputs} outputs")
    return fitting[0]


def score_named(name: str) -> Score | None:
    """Returns the declaration of a score, whichever kind has it; None if no kind has a score with this name.

    >>> score_named("matthews").low
    -1.0
    """
    return next((score for kind in kinds().values() for score in kind.scores if score.name == name), None)
