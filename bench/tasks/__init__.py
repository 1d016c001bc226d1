"""What a task is: its rows, its sources, its kind of labels, its scores."""

from __future__ import annotations

from bench.tasks.task import SCALES, SCORES, Folder, HubData, Kind, Row, Rows, Task, Wheel, score

__all__ = ["SCALES", "SCORES", "Folder", "HubData", "Kind", "Row", "Rows", "Task", "Wheel", "score"]
