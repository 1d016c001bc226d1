"""Makes the lists that `bench list` prints. No plug-in and no method is imported for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.meters import shipped
from bench.registry import plugins
from bench.registry.executors import EXECUTOR_GROUP
from bench.registry.executors import built_in as built_in_executors
from bench.registry.meters import METER_GROUP
from bench.registry.methods import METHOD_GROUP
from bench.registry.tasks import HUB, TASK_GROUP
from bench.sources.formats import suffixes
from bench.sources.models import SHIPPED as MODELS
from bench.sources.random_models import SHAPES
from bench.tasks.kinds import KIND_GROUP, shipped_kinds
from methods import BUILT_IN, VARIANTS
from tasks import TASKS

Listing = Iterable[tuple[str, str]]
"""Name, and what is said of it on the same line."""


def list_methods() -> Listing:
    """Yields the name and the origin of each method."""
    yield from ((name, "built in") for name in BUILT_IN)
    yield from ((name, f"stands for {text}") for name, text in VARIANTS.items())
    yield from _plugins(METHOD_GROUP, {*BUILT_IN, *VARIANTS})
    yield "peft:TYPE", "any type of the package peft, such as peft:ia3; or the path of an adapter_config.json"
    yield "file.py:Class", "a subclass of bench.Method in a Python file"


def list_tasks() -> Listing:
    """Yields the name of each task, and what to know before reading its scores."""
    yield from ((name, task.caveat) for name, task in TASKS.items())
    yield from _plugins(TASK_GROUP, TASKS)
    yield "folder", f"with train and validation as {suffixes()}, and perhaps test"
    yield "file", f"with all rows, as {suffixes()}; test rows are held out, or named in a column split"
    yield f"{HUB}owner/name", "a data set of the Hugging Face hub, or a local folder in the form of one"
    yield "file.py:NAME", "a bench.Task in a Python file"


def list_meters() -> Listing:
    """Yields the name of each meter, and the labels of its figures."""
    yield from ((meter.name, ", ".join(column.label for column in meter.columns)) for meter in shipped())
    yield from _plugins(METER_GROUP, (meter.name for meter in shipped()))
    yield "file.py:Class", "a subclass of bench.Meter in a Python file"


def list_kinds() -> Listing:
    """Yields the name of each kind of task, and its scores."""
    yield from ((name, ", ".join(score.name for score in kind.scores)) for name, kind in shipped_kinds().items())
    yield from _plugins(KIND_GROUP, shipped_kinds())


def list_models() -> Listing:
    """Yields the name and the description of each model."""
    yield from ((name, shipped.about) for name, shipped in MODELS.items())
    yield from ((name, shape.about) for name, shape in SHAPES.items())
    yield "folder", "with config.json, model.safetensors and a tokenizer"
    yield "owner/name", "a model of the Hugging Face hub with safetensors weights"


def _plugins(group: str, taken: Iterable[str]) -> Listing:
    for name, entry in plugins.entry_points(group).items():
        clash = " (refused: the name is built in)" if name in set(taken) else ""
        yield name, f"from {plugins.origin(entry)}{clash}"


def list_executors() -> Listing:
    """Yields the name and the origin of each executor."""
    yield from ((name, "built in") for name in built_in_executors())
    yield from _plugins(EXECUTOR_GROUP, built_in_executors())
    yield "file.py:Class", "a subclass of bench.Executor in a Python file"


LISTINGS: dict[str, Callable[[], Listing]] = {
    "methods": list_methods,
    "tasks": list_tasks,
    "models": list_models,
    "meters": list_meters,
    "executors": list_executors,
    "kinds": list_kinds,
}
"""The argument of `bench list` -> the function that lists."""
