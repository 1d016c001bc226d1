"""Compares fine-tuning methods: their scores, and what they cost in parameters, FLOPs, memory, time and energy.

The command line is `bench`. From Python, these functions do the same:

- `bench.compare(["lora", "full"], tasks="trec", out="out")` trains, scores and measures, and writes the report;
- `bench.load_records("out")` returns the runs as a data frame;
- `bench.load_outputs("out", digest)` returns the logits and labels of a run on the test rows;
- `bench.load_compact("out/compact/DIGEST")` returns a model to deploy;
- `bench.check("my.py:Mine")` says which promises a method keeps and which it breaks;
- `bench.check_meter("my.py:Mine")` says which promises a meter breaks;
- `bench.check_executor("my.py:Mine")` says which promises an executor keeps and which it breaks;
- `bench.check_kind(MyKind())` says which promises a kind of task breaks.

Authors of methods, tasks, meters and executors import the classes that they build on from here, and from nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.commands.api import Comparison, check, check_meter, compare, load_records
    from bench.contract.executors import check_executor
    from bench.contract.kinds import check_kind
    from bench.errors import UserError
    from bench.grid.executors.executor import Attempt, Executor
    from bench.meters.column import Column
    from bench.meters.meter import Absent, Meter, Note
    from bench.parts.deployment import load as load_compact
    from bench.records.store import load_outputs
    from bench.tasks import File, Folder, HubData, Kind, Row, Rows, Score, Task, Wheel
    from methods.kit.base import Method
    from methods.kit.gates import Gate
    from methods.kit.parts import Part

__all__ = ["Absent", "Attempt", "Column", "Comparison", "Executor", "File", "Folder", "Gate", "HubData", "Kind"]
__all__ += ["Meter", "Method", "Note", "Part", "Row", "Rows", "Score", "Task", "UserError", "Wheel", "check"]
__all__ += ["check_executor", "check_kind", "check_meter", "compare", "load_compact", "load_outputs"]
__all__ += ["load_records"]

_HOMES = {
    "compare": "bench.commands.api:compare",
    "load_records": "bench.commands.api:load_records",
    "load_compact": "bench.parts.deployment:load",
    "load_outputs": "bench.records.store:load_outputs",
    "check": "bench.commands.api:check",
    "check_meter": "bench.commands.api:check_meter",
    "check_executor": "bench.contract.executors:check_executor",
    "check_kind": "bench.contract.kinds:check_kind",
    "Comparison": "bench.commands.api:Comparison",
    "UserError": "bench.errors:UserError",
    "Method": "methods.kit.base:Method",
    "Part": "methods.kit.parts:Part",
    "Meter": "bench.meters.meter:Meter",
    "Column": "bench.meters.column:Column",
    "Absent": "bench.meters.meter:Absent",
    "Note": "bench.meters.meter:Note",
    "Gate": "methods.kit.gates:Gate",
    "Executor": "bench.grid.executors.executor:Executor",
    "Attempt": "bench.grid.executors.executor:Attempt",
    "Task": "bench.tasks:Task",
    "File": "bench.tasks:File",
    "Folder": "bench.tasks:Folder",
    "HubData": "bench.tasks:HubData",
    "Kind": "bench.tasks:Kind",
    "Score": "bench.tasks:Score",
    "Row": "bench.tasks:Row",
    "Rows": "bench.tasks:Rows",
    "Wheel": "bench.tasks:Wheel",
}
"""Public name -> where it is defined, as `module:attribute`."""


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, because torch takes seconds to import and `bench --help` may not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    """Lists the public names, for completion in a shell or a notebook."""
    return sorted({*globals(), *__all__})
