"""Finds the task that a text names: a shipped task, a hub data set, local rows, or a task of a file or package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError, near
from bench.records.spec import TaskSpec
from bench.registry import plugins
from bench.registry.methods import parse
from bench.sources.formats import FILE_FORMATS, suffixes
from bench.sources.hub import commit_of, folder_digest, is_local
from bench.sources.reach import hub_in_reach
from bench.tasks import File, Folder, HubData, Task, kinds
from methods.kit.loading import file_digest
from tasks import TASKS

TASK_GROUP = "tunebench.tasks"

HUB = "hf:"
"""The prefix of a hub data set. It is required, so that a misspelt name of a task starts no download."""

_FILE_FIELDS = ("text", "pair", "label", "headline")
_HUB_FIELDS = ("config", "train", "test", "text", "pair", "label", "revision", "headline")


@dataclass(frozen=True)
class ResolvedTask:
    """A task that can be loaded, and its specification, which is recorded and finds the same task again."""

    task: Task
    spec: TaskSpec


def resolve_task(text: str) -> ResolvedTask:
    """Finds the task that a text names.

    Args:
        text: one of

            - the name of a shipped task, or of a task of an installed package;
            - `file.py:NAME`, a `bench.Task` in a Python file;
            - a folder or a file of rows, perhaps with `[text=COLUMN,pair=COLUMN,label=COLUMN,headline=SCORE]`;
            - `hf:owner/name`, or `hf:` and a local folder with the layout of a hub data set, perhaps with
              `[config=,train=,test=,text=,pair=,label=,revision=,headline=]`. Each field may be left out.

    Raises:
        UserError: there is no such task, or the object of a plug-in is no task.

    >>> resolve_task("synthetic").spec
    TaskSpec(name='synthetic', label='synthetic', source='built-in', revision='1')
    """
    name, columns = parse(text)
    if name.startswith(HUB):
        return _hub(text, name.removeprefix(HUB), columns)
    # Shipped names come first, so that a folder that happens to be called trec changes nothing.
    if name in TASKS and not columns:
        return _resolved(text, TASKS[name], "built-in")
    if plugins.is_file(text):
        return _plugin(text, *plugins.from_file(text))
    packages = plugins.entry_points(TASK_GROUP)
    if name in packages and not columns:
        return _plugin(name, *plugins.from_package(packages[name]))
    path = Path(name).expanduser()
    if path.is_dir():
        return _local(text, Folder, path, columns)
    if path.is_file() and path.suffix not in FILE_FORMATS:
        raise UserError(f"task {name}: a file of rows ends with {suffixes()}")
    if path.is_file():
        return _local(text, File, path, columns)
    if columns and name in {*TASKS, *packages}:
        raise UserError(f"task {name} has its columns; only a folder or a file takes [text=,pair=,label=,headline=]")
    # From here on nothing fits: the messages guess what was meant.
    if name.startswith((".", "/", "~")) or path.suffix in FILE_FORMATS:
        raise UserError(f"task {name}: no such folder or file")
    hint = near(name, [*TASKS, *packages])
    raise UserError(f"unknown task {name!r}{hint} (bench list tasks shows all; a folder or a file works too)")


def _local(text: str, source: type[Folder | File], path: Path, fields: dict[str, str]) -> ResolvedTask:
    """Makes a task of a user's folder or file. Its label is the name of the folder, or of the file without suffix."""
    what = source.__name__.lower()
    headline = _headline(text, fields, allowed=_FILE_FIELDS, what=f"a {what}")
    columns = {name: value for name, value in fields.items() if name != "headline"}
    resolved = path.resolve()
    name = resolved.name if source is Folder else resolved.stem
    try:
        task = Task(name=name, source=source(path, **columns), headline=headline)
    except ValueError as error:
        raise UserError(f"task {text}: {error}") from error
    return _resolved(text, task, what)


def _hub(text: str, repo: str, fields: dict[str, str]) -> ResolvedTask:
    """Makes a task of a hub data set. The recorded name contains the commit, so that a run reads what was planned."""
    headline = _headline(text, fields, allowed=_HUB_FIELDS, what="a data set of the hub")
    columns = {name: value for name, value in fields.items() if name not in ("headline", "revision")}
    local = is_local(repo)
    if local and "revision" in fields:
        raise UserError(f"task {text}: a local folder has no revisions: it is read as it is now")
    if not repo:
        raise UserError(f"task {text}: name a data set, as in {HUB}owner/name")
    revision = (
        folder_digest(Path(repo).expanduser())
        if local
        else commit_of(repo, fields.get("revision"), reachable=hub_in_reach)
    )
    try:
        source = HubData(repo, columns.pop("config", None), revision, test=columns.pop("test", None), **columns)
    except ValueError as error:
        raise UserError(f"task {text}: {error}") from error
    if local:
        label = "/".join(filter(None, (Path(repo).expanduser().resolve().name, source.config)))
        return _resolved(text, Task(name=label, source=source, headline=headline, revision=revision), "folder")
    # Written back with the commit in place of the branch: the child process resolves this text again.
    pinned = ",".join(f"{name}={value}" for name, value in {**fields, "revision": revision}.items())
    task = Task(name=source.name, source=source, headline=headline, revision=revision)
    return _resolved(f"{HUB}{repo}[{pinned}]", task, "hub")


def _headline(text: str, fields: dict[str, str], *, allowed: tuple[str, ...], what: str) -> str | None:
    """Checks the names of the fields, and returns the score that the field `headline` names, if it is there.

    Args:
        text: the name of the task as the user wrote it, for messages.
        fields: the fields of its bracket.
        allowed: the fields that this kind of source takes.
        what: the kind of source, for messages.

    Raises:
        UserError: a field is not allowed, or there is no such score.
    """
    for field in fields:
        if field not in allowed:
            raise UserError(f"task {text}: {what} takes {', '.join(allowed)}, not {field}")
    headline = fields.get("headline")
    scores = [score.name for kind in kinds().values() for score in kind.scores]
    if headline is not None and headline not in scores:
        raise UserError(f"task {text}: unknown score {headline!r}; there is {', '.join(scores)}")
    return headline


def _plugin(name: str, loaded: object, source: str) -> ResolvedTask:
    if not isinstance(loaded, Task):
        raise UserError(f"{name} is a {type(loaded).__name__}, not a bench.Task; name the task that the file defines")
    if loaded.name in TASKS:
        raise UserError(f"{name} calls itself {loaded.name!r}, which is shipped; give it another name")
    return _resolved(name, loaded, source)


def _resolved(name: str, task: Task, source: str) -> ResolvedTask:
    if not task.name.isprintable():
        raise UserError(f"task {task.name!r} has a sign in its name that cannot be printed: rename it")
    # A user's rows have no name for their state, so a hash of the files tells changed rows.
    revision = task.revision
    if revision is None and isinstance(task.source, Folder):
        revision = _folder_digest(Path(task.source.path))
    elif revision is None and isinstance(task.source, File):
        revision = f"sha256:{file_digest(Path(task.source.path))}"
    spec = TaskSpec(name=name, label=task.name, source=source, revision=revision or "unpinned")
    return ResolvedTask(task, spec)


def _folder_digest(path: Path) -> str:
    """Computes a sha256 over the data files of a folder. It is part of the key of a run, so changed rows run again."""
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        if file.suffix not in FILE_FORMATS:
            continue
        try:
            digest.update(file.name.encode() + b"\0" + bytes.fromhex(file_digest(file)))
        except OSError as error:  # such as a folder of that name
            raise UserError(f"{file} cannot be read ({error.strerror}): rows must be in a file") from error
    return f"sha256:{digest.hexdigest()}"
