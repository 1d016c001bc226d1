"""From a task's name to the task: shipped, a local folder, a Python file, or an installed package's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError, near
from bench.records.spec import TaskSpec
from bench.registry import plugins
from bench.registry.methods import parse
from bench.sources.rows import READERS
from bench.tasks import Folder, Task, kinds
from tasks import TASKS

GROUP = "tunebench.tasks"

SHIPPED: dict[str, Task] = TASKS
"""Every task that comes along, by name."""

_FOLDER_FIELDS = ("text", "pair", "label", "headline")


@dataclass(frozen=True)
class ResolvedTask:
    """A task ready to load, and how it was asked for."""

    task: Task
    spec: TaskSpec


def resolve_task(text: str) -> ResolvedTask:
    """Finds the task that `text` names.

    Args:
        text: a shipped name, `folder` or `folder[text=COLUMN,pair=COLUMN,label=COLUMN,headline=SCORE]`,
            `file.py:NAME`, or the name of an installed package's task.

    Raises:
        UserError: there is no such task, or a plug-in that is none.
    """
    name, columns = parse(text)
    if name in SHIPPED and not columns:
        return _resolved(text, SHIPPED[name], "built-in")
    if plugins.is_file(text):
        return _plugin(text, *plugins.from_file(text))
    packages = plugins.entry_points(GROUP)
    if name in packages and not columns:
        return _plugin(name, *plugins.from_package(packages[name]))
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder(text, path, columns)
    if columns and name in {*SHIPPED, *packages}:
        raise UserError(f"task {name} has its columns; only a folder takes [text=,pair=,label=,headline=]")
    if name.startswith((".", "/", "~")):
        raise UserError(f"task {name}: no such folder")
    known = near(name, [*SHIPPED, *packages])
    raise UserError(f"unknown task {name!r}{known} (bench list tasks shows all; a folder works too)")


def _folder(text: str, path: Path, columns: dict[str, str]) -> ResolvedTask:
    for field in columns:
        if field not in _FOLDER_FIELDS:
            raise UserError(f"task {text}: a folder takes {', '.join(_FOLDER_FIELDS)}, not {field}")
    headline = columns.get("headline")
    known = [score.name for kind in kinds().values() for score in kind.scores]
    if headline is not None and headline not in known:
        raise UserError(f"task {text}: unknown score {headline!r}; there is {', '.join(known)}")
    try:
        source = Folder(path, **{name: value for name, value in columns.items() if name != "headline"})
    except ValueError as error:
        raise UserError(f"task {text}: {error}") from error
    return _resolved(text, Task(name=path.resolve().name, source=source, headline=headline), "folder")


def _plugin(name: str, found: object, source: str) -> ResolvedTask:
    if not isinstance(found, Task):
        raise UserError(f"{name} is a {type(found).__name__}, not a bench.Task")
    if found.name in SHIPPED:
        raise UserError(f"{name} calls itself {found.name!r}, which is shipped; give it another name")
    return _resolved(name, found, source)


def _resolved(name: str, task: Task, source: str) -> ResolvedTask:
    if not task.name.isprintable():
        raise UserError(f"task {task.name!r} has a sign in its name that cannot be printed: rename it")
    revision = task.revision
    if revision is None and isinstance(task.source, Folder):
        revision = _folder_digest(Path(task.source.path))
    spec = TaskSpec(name=name, label=task.name, source=source, revision=revision or "unpinned")
    return ResolvedTask(task, spec)


def _folder_digest(path: Path) -> str:
    """sha256 over the data files of a folder, so that changed rows are another run."""
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        if file.suffix not in READERS:
            continue
        try:
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:  # such as a folder of that name
            raise UserError(f"{file} cannot be read ({error.strerror}): rows must be in a file") from error
    return f"sha256:{digest.hexdigest()}"
