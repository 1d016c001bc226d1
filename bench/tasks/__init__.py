"""The types that describe a task: its rows, where they come from, its kind of label, and its scores."""

from __future__ import annotations

from bench.tasks.kinds import Kind, Score, kind_named, kind_of_outputs, kind_of_types, kinds, score_named
from bench.tasks.task import File, Folder, HubData, Row, Rows, Task, Wheel, score

__all__ = [
    "File",
    "Folder",
    "HubData",
    "Kind",
    "Row",
    "Rows",
    "Score",
    "Task",
    "Wheel",
    "kind_named",
    "kind_of_outputs",
    "kind_of_types",
    "kinds",
    "score",
    "score_named",
]
