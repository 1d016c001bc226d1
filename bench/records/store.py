"""Records of runs: one JSON file each under `OUT/runs/`, written whole or not at all."""

from __future__ import annotations

import gc
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bench.errors import UserError
from bench.records.record import (
    SCHEMA,
    UPGRADES,
    Costs,
    Effective,
    Evaluation,
    Profile,
    ProfileRow,
    ProfileSetting,
    Record,
    Result,
    Status,
    Stored,
    Timing,
    timed_alike,
)
from bench.records.spec import Measures

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

__all__ = ["SCHEMA", "UPGRADES", "Costs", "Effective", "Evaluation", "Profile", "ProfileRow", "Record", "Result"]
__all__ += ["ProfileSetting", "Status", "Stored", "Timing", "collector_paused", "timed_alike"]


def runs_folder(out: Path) -> Path:
    """Where the records of a comparison lie."""
    return out / "runs"


def record_path(out: Path, digest: str) -> Path:
    """The file of one record."""
    return runs_folder(out) / f"{digest}.json"


def write_record(
    out: Path,
    record: Record,
    *,
    outputs: Mapping[str, np.ndarray] | None = None,
    gates: pd.DataFrame | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Writes a record and, before it, what belongs to it.

    Args:
        out: the comparison's folder.
        record: replaces an earlier one of the same digest.
        outputs: arrays to keep as `DIGEST.npz`, such as the logits on the test rows.
        gates: gate values to keep as `DIGEST.gates.parquet`.
        weights: tensors to keep as `DIGEST.safetensors`.
    """
    path = record_path(out, record.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    if outputs is not None:
        import numpy as np

        with _replacing(path.with_suffix(".npz")) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **dict(outputs))  # type: ignore[arg-type]
    if gates is not None:
        with _replacing(path.with_suffix(".gates.parquet")) as temporary:
            gates.to_parquet(temporary)
    if weights is not None:
        from safetensors.torch import save_file

        with _replacing(path.with_suffix(".safetensors")) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)
    with _replacing(path) as temporary:
        temporary.write_text(record.as_json(indent=1) + "\n", "utf-8")
    return path


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path` once it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_record(path: Path) -> Record:
    """Reads a record of this or any earlier form.

    Raises:
        UserError: the file is damaged, or was written by a later version.
    """
    remedy = "delete it and run the same command again"
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    number = data.get("schema_number") if isinstance(data, dict) else None
    if not isinstance(number, int):
        raise UserError(f"{path} is no record of a run; {remedy}")
    if number > SCHEMA:
        raise UserError(f"{path} was written by a later tunebench (schema {number}); update tunebench")
    try:
        while number < SCHEMA:
            data, number = UPGRADES[number](data), number + 1
        return Record.read({**data, "schema_number": number})
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({_first_line(error)}); {remedy}") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(place) for place in first['loc'])}: {first['msg']}"
    return f"{type(error).__name__}: {error}"


def read_records(out: Path) -> list[Record]:
    """All records of a comparison, in the order of their digests.

    Raises:
        UserError: there are none, or one is damaged.
    """
    paths = sorted(runs_folder(out).glob("*.json"))
    if not paths:
        raise UserError(f"{out} holds no records; run bench compare --out {out} first")
    with collector_paused():
        return [read_record(path) for path in paths]


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keeps the garbage collector from searching thousands of records, millions of objects that all stay."""
    resume = gc.enable if gc.isenabled() else gc.disable
    gc.disable()
    try:
        yield
    finally:
        resume()


def read_outputs(out: Path, digest: str) -> dict[str, np.ndarray]:
    """The arrays of a record."""
    import numpy as np

    with np.load(record_path(out, digest).with_suffix(".npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def gates_path(out: Path, digest: str) -> Path:
    """The gate values of a record; there is none for a method without gates."""
    return record_path(out, digest).with_suffix(".gates.parquet")


def weights_path(out: Path, digest: str) -> Path:
    """What a record's run has to store; there if the run kept it."""
    return record_path(out, digest).with_suffix(".safetensors")


def finished(out: Path, measures: Measures | None = None) -> set[str]:
    """The digests of the runs that are there with status ok and all that `measures` asks for.

    Raises:
        UserError: a record is damaged.
    """
    from bench.registry.meters import meter_sources

    records = map(read_record, sorted(runs_folder(out).glob("*.json")))
    sources = {} if measures is None else meter_sources(measures.meters)
    return {record.digest for record in records if _holds(out, record, measures, sources)}


def _holds(out: Path, record: Record, measures: Measures | None, sources: Mapping[str, str]) -> bool:
    """Whether a run measured and kept what is asked for now."""
    result = record.result
    if result is None or measures is None:
        return result is not None
    if measures.costs and (result.costs is None or not record.complete):
        return False
    if measures.meters and (result.costs is None or not sources.items() <= result.costs.meters.items()):
        return False
    kept = weights_path(out, record.digest).exists()
    if measures.keeps(result.stored_parameters, result.backbone_parameters) and not kept:
        return False
    found = result.effective
    return not measures.effective or (found is not None and found.answers(measures.epsilon))


def profile_path(out: Path, profile: Profile) -> Path:
    """The file of a profile: its model and the digest of all that its times depend on."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", profile.model)
    return out / "profiles" / f"{name}{f'-{profile.digest}' if profile.digest else ''}.json"


def write_profile(out: Path, profile: Profile) -> Path:
    """Writes a profile beside those of other settings; replaces an earlier one of the same key."""
    path = profile_path(out, profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary:
        temporary.write_text(profile.model_dump_json(indent=1, exclude_none=True) + "\n", "utf-8")
    return path


def read_profiles(out: Path) -> dict[Path, Profile]:
    """All profiles of a comparison by file, in the order of their names.

    Raises:
        UserError: one is damaged.
    """
    found = {}
    for path in sorted((out / "profiles").glob("*.json")):
        try:
            found[path] = Profile.read(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            remedy = "delete it and run the same command again, or bench profile"
            raise UserError(f"{path} is damaged ({_first_line(error)}); {remedy}") from error
    return found


def clear_temporary(out: Path) -> None:
    """Removes what an interrupted child left half-written."""
    for leftover in runs_folder(out).glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


_ASIDE = ".earlier"
_SUFFIXES = (".npz", ".gates.parquet", ".safetensors", ".json")
"""Of a record's files. The record itself is the last to go and the last to come back: while it lies aside, all that
lies aside belongs to it, and a process that is killed in between loses nothing."""


def set_aside(out: Path, digest: str) -> Record | None:
    """Puts a record and its files out of the way of a new attempt at its run.

    Returns:
        The record; None where there is none.

    Raises:
        UserError: it is damaged.
    """
    path = record_path(out, digest)
    if not path.exists():
        return None
    record = read_record(path)
    for suffix in _SUFFIXES:
        file = path.with_suffix(suffix)
        if file.exists():
            file.replace(_aside(file))
    return record


def put_back(out: Path, digest: str) -> None:
    """Gives a record that was set aside, and its files, their places again, whatever a new attempt has left there."""
    for suffix in _SUFFIXES:
        file = record_path(out, digest).with_suffix(suffix)
        if _aside(file).exists():
            _aside(file).replace(file)


def drop_aside(out: Path, digest: str) -> None:
    """Removes a record that was set aside, for the new attempt is kept. Files that it did not make anew stay."""
    for suffix in reversed(_SUFFIXES):
        file = record_path(out, digest).with_suffix(suffix)
        if file.exists():
            _aside(file).unlink(missing_ok=True)
        elif _aside(file).exists():
            _aside(file).replace(file)


def _settle(out: Path) -> None:
    """Ends what a process that was killed left undone: of each run the attempt stays that has a result."""
    left = {file.name.partition(".")[0] for file in runs_folder(out).glob(f"*{_ASIDE}")}
    for digest in sorted(left):
        path = record_path(out, digest)
        has_result = path.exists() and read_record(path).result is not None
        (drop_aside if has_result else put_back)(out, digest)


def _aside(file: Path) -> Path:
    return file.with_name(file.name + _ASIDE)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Holds a comparison's folder for the block.

    Raises:
        UserError: it cannot be written, another run holds it, or a record in it is damaged.
    """
    from filelock import FileLock, Timeout

    try:
        runs_folder(out).mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{out} is held by another run; wait for it or choose another --out") from error
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another --out") from error
    try:
        clear_temporary(out)
        _settle(out)
        yield
    finally:
        lock.release()
