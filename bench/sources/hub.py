"""Reads data sets of the Hugging Face hub, and local folders with the same layout, through the library `datasets`.

A data set is pinned to a commit before anything is read. The rows of that commit are then kept in tunebench's cache, as
one parquet file for each split. Since a commit never changes, later runs read these files and need neither the hub nor
`datasets`, whose import takes a second and 100 MB.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import UserError, near
from bench.sources.formats import FILE_FORMATS
from bench.sources.rows import read_files, rows_of
from bench.sources.wheels import cache_folder
from bench.tasks import HubData, Rows
from bench.tasks.table import gather
from methods.kit.loading import file_digest

_TESTS = ("validation", "test")
"""The splits that may be scored if the task names none, in order of preference.

`test` comes last because its labels are often hidden.
"""


def is_local(repo: str) -> bool:
    """Tells whether a name means a local folder; the name of a hub data set begins with a letter or a digit."""
    return repo.startswith((".", "/", "~"))


def commit_of(repo: str, revision: str | None, *, reachable: Callable[[], bool]) -> str:
    """Resolves a revision to the commit that it stands for now.

    Args:
        repo: `owner/name`.
        revision: a branch, a tag, or the 40 digits of a commit, which are returned unchanged; None: the main branch.
        reachable: tells whether the hub can be reached. If it cannot, the commit is the one that the local cache of
            the hub holds for this revision.

    Raises:
        UserError: there is no such data set or revision, or the hub is out of reach and its cache has no copy.
    """
    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    return _snapshot(repo, revision or "main", ["README.md"], reachable=reachable()).name


def folder_digest(path: Path) -> str:
    """Computes a sha256 over the names and the content of all files below a local folder, except hidden files.

    Raises:
        UserError: there is no such folder, or a file cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        inner = file.relative_to(path)
        if not file.is_file() or any(part.startswith(".") for part in inner.parts):
            continue
        try:
            digest.update(f"{inner.as_posix()}\0{file_digest(file)}\n".encode())
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror})") from error
    return f"sha256:{digest.hexdigest()}"


def read_hub(data: HubData, *, reachable: Callable[[], bool]) -> Rows:
    """Reads the training split and the scored split of a data set. No code of its repository is run.

    Args:
        data: the data set and its commit.
        reachable: tells whether the hub can be reached; called only if the caches lack a file.

    Returns:
        The rows, with `dev=None`: dev rows are drawn from the training rows later.

    Raises:
        UserError: the data set is neither on the hub nor in a cache; it has no such configuration, split or column; or
            a row lacks a text or a label.
    """
    if is_local(data.repo):
        path = Path(data.repo).expanduser()
        data = replace(data, repo=str(path.absolute()), revision=folder_digest(path))
    else:  # the cache is keyed by commit, because a branch moves
        data = replace(data, revision=commit_of(data.repo, data.revision, reachable=reachable))
        if not _copy(data).is_dir() and (files := _parquet_files(data, reachable=reachable)):
            return read_files(data, train=files[0], dev=[], test=files[1])
    splits = _splits(data, reachable=reachable)
    scored = data.test or next((split for split in _TESTS if split in splits), _TESTS[0])
    for split in (data.train, scored):
        if split not in splits:
            raise UserError(
                f"{data.name} has no split {split!r}{near(split, splits)} "
                f"(there is {', '.join(splits)}): name it with train= or test="
            )
    read = FILE_FORMATS[".parquet"].read
    train, test = (gather(rows_of(read(splits[split]), f"{data.name} {split}", data)) for split in (data.train, scored))
    return Rows(train=train, dev=None, test=test)


def _parquet_files(data: HubData, *, reachable: Callable[[], bool]) -> tuple[list[Path], list[Path]] | None:
    """Fetches the parquet files of both splits from the usual place on the hub, `config/split-*.parquet`.

    Only these two splits are fetched, into the cache of the hub, and they are read without `datasets`.

    Returns:
        The files of the training split and of the scored split; None if the repository has another layout or the hub
        is out of reach.

    Raises:
        UserError: the hub has no such data set or commit.
    """
    if data.test is None:  # to choose the scored split, the list of all splits is needed, which `datasets` gives
        return None
    prefix = f"{data.config}/" if data.config else ""
    patterns = [f"{prefix}{split}-*.parquet" for split in (data.train, data.test)]
    with contextlib.suppress(_NotCachedError):  # first without the network
        folder = _snapshot(data.repo, data.revision, patterns, reachable=False)
        if files := _complete(folder, patterns):
            return files
    if not reachable():
        return None
    _announce(data)
    return _complete(_snapshot(data.repo, data.revision, patterns, reachable=True), patterns)


def _complete(folder: Path, patterns: list[str]) -> tuple[list[Path], list[Path]] | None:
    """Finds the files of both patterns, or returns None if some are missing.

    An interrupted download can leave `train-00000-of-00002.parquet` without `train-00001-of-00002.parquet`: the number
    after `of` tells how many files belong together.
    """
    train, test = (sorted(folder.glob(pattern)) for pattern in patterns)
    for files in (train, test):
        numbered = [match for file in files if (match := re.search(r"-\d{5}-of-(\d{5})\b", file.name))]
        if not files or (numbered and len(files) != int(numbered[0][1])):
            return None
    return train, test


class _NotCachedError(UserError):
    """The cache of the hub has no file of a revision."""


def _snapshot(repo: str, revision: str, patterns: list[str], *, reachable: bool) -> Path:
    """Returns the folder of a commit in the cache of the hub, after fetching files into it. Its name is the commit.

    Args:
        repo: `owner/name`.
        revision: a branch, a tag or a commit.
        patterns: which files to fetch, as glob patterns.
        reachable: whether to ask the hub; if not, only its cache is searched.

    Raises:
        UserError: the hub has no such data set, or it is out of reach and its cache has no file of this revision.
    """
    from huggingface_hub import snapshot_download, utils
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    with _quiet(utils):
        try:
            return Path(
                snapshot_download(
                    repo,
                    repo_type="dataset",
                    revision=revision,
                    allow_patterns=patterns,
                    local_files_only=not reachable,
                )
            )
        except LocalEntryNotFoundError as error:
            raise _NotCachedError(_out_of_reach(repo)) from error
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise UserError(f"{repo} at revision {revision} cannot be had from the hub: {_one_line(error)}") from error


def _announce(data: HubData) -> None:
    print(f"fetching {data.name} from the Hugging Face hub (once)", file=sys.stderr, flush=True)


def _out_of_reach(name: str) -> str:
    return (
        f"{name} is not in the cache of the Hugging Face hub, which is out of reach: connect once, "
        "or use a local folder or a task of the package index (bench list tasks)"
    )


def _copy(data: HubData) -> Path:
    """Returns the folder of tunebench's cache for the rows of a commit, or of a local folder with this content."""
    repo = re.sub(r"[^\w.-]+", "--", data.repo).strip("-.")[-80:]
    config = re.sub(r"[^\w.-]+", "--", data.config or "default")
    key = hashlib.sha256(f"{data.repo}\0{data.config}\0{data.revision}".encode()).hexdigest()
    return cache_folder() / "datasets" / f"{repo}--{config}-{key[:16]}"


def _splits(data: HubData, *, reachable: Callable[[], bool]) -> dict[str, Path]:
    """Returns split -> parquet file in tunebench's cache; the first call reads the data set through `datasets`.

    `datasets` has a cache of its own, whose keys are the path and the time of the last change. Here the key is the
    commit or the content, so that a changed file is read again and an old commit keeps its rows.

    Raises:
        UserError: the data set is out of reach, `datasets` cannot read it, or the cache cannot be written.
    """
    copy = _copy(data)
    if not copy.is_dir():
        if not is_local(data.repo) and not reachable():
            raise UserError(_out_of_reach(data.name))
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            # Written beside its place and then renamed, so that the cache never holds half a data set.
            with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".reading-") as staging:
                _read_with_datasets(data, Path(staging, "splits"), cache=Path(staging, "cache"))
                _move(Path(staging, "splits"), copy)
        except OSError as error:
            raise UserError(
                f"cache {cache_folder()} cannot be written ({error.strerror or error}): free some space, or let "
                "TUNEBENCH_CACHE name another folder"
            ) from error
    return {file.stem: file for file in sorted(copy.glob("*.parquet"))}


def _read_with_datasets(data: HubData, folder: Path, *, cache: Path) -> None:
    """Reads a data set and writes each split as a parquet file into a new folder.

    Args:
        data: the data set and its commit.
        folder: the new folder.
        cache: a folder for the files that `datasets` leaves behind; the caller deletes it.
    """
    import datasets
    from huggingface_hub import utils

    revision = None if is_local(data.repo) else data.revision
    if revision is not None:
        _announce(data)
    with _quiet(datasets), _quiet(utils):
        try:
            splits = datasets.load_dataset(data.repo, data.config, revision=revision, cache_dir=str(cache))
        except Exception as error:  # datasets, pandas, Arrow and the hub all have errors of their own
            cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else None
            raise UserError(f"{data.name} cannot be read: {_one_line(cause or error)}") from error
        folder.mkdir()
        for name, rows in splits.items():
            rows.to_parquet(folder / f"{name}.parquet")


def _move(source: Path, target: Path) -> None:
    """Renames a finished folder. If another process was faster, its copy has the same content and is kept."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _one_line(error: BaseException) -> str:
    """Returns the message of an error on one line, without the Python example that `datasets` appends."""
    message = " ".join(str(error).split()) or type(error).__name__
    return message.partition(" Example of usage")[0][:300]


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Silences the progress bars and log lines of `datasets` or `huggingface_hub.utils` within a block.

    The errors that they raise say all that a user needs.
    """
    level, bars = library.logging.get_verbosity(), not library.are_progress_bars_disabled()
    library.logging.set_verbosity(logging.CRITICAL)
    library.disable_progress_bars()
    try:
        yield
    finally:
        library.logging.set_verbosity(level)
        if bars:
            library.enable_progress_bars()
