"""Records of runs: one JSON file each under `OUT/runs/`, written whole or not at all.

`RecordFolder` is a comparison's folder as a command works with it: read once, and written by nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bench.errors import UserError
from bench.records.record import (
    SCHEMA,
    STILL_ALONE,
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


BESIDE = (".npz", ".gates.parquet", ".safetensors")
"""What the names of a record's other files end in: outputs, gate values, weights."""


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


class RecordFolder:
    """A comparison's folder with its records in memory: read once, at the first question, and kept as they are written.

    That holds as long as nothing else writes there, which `claimed` sees to.

    Attributes:
        out: the folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._records: dict[str, Record] | None = None

    @property
    def by_digest(self) -> Mapping[str, Record]:
        """Every record by its digest.

        Raises:
            UserError: one is damaged.
        """
        return self._read()

    def _read(self) -> dict[str, Record]:
        if self._records is None:
            with collector_paused():
                records = map(read_record, sorted(runs_folder(self.out).glob("*.json")))
                self._records = {record.digest: record for record in records}
        return self._records

    def records(self) -> list[Record]:
        """All records, in the order of their digests.

        Raises:
            UserError: one is damaged.
        """
        return [record for _, record in sorted(self._read().items())]

    def write(self, record: Record, *, files: Iterable[Path] = ()) -> None:
        """Writes a record, in the place of an earlier one of its run, and before it moves in what belongs to it.

        Args:
            record: of a run.
            files: named after the run as they are to be named here, and on this file system.
        """
        runs_folder(self.out).mkdir(parents=True, exist_ok=True)
        for file in files:
            file.replace(runs_folder(self.out) / file.name)
        write_record(self.out, record)
        if self._records is not None:
            self._records[record.digest] = record

    def finished(self, measures: Measures | None = None, *, timed: bool = False) -> set[str]:
        """The digests of the runs that are there with status ok and all that `measures` asks for.

        Args:
            measures: what is measured besides scores and time; None: nothing.
            timed: whether the times are asked for too, which runs made side by side lack; a trial needs none.

        Raises:
            UserError: a record is damaged.
        """
        from bench.registry.meters import meter_sources

        sources = {} if measures is None else meter_sources(measures.meters)
        return {
            digest
            for digest, record in self._read().items()
            if _holds(self.out, record, measures, sources)
            and not (timed and record.side_by_side > 1 and not record.asked.is_trial)
        }

    def still_alone(self, measures: Measures) -> set[str]:
        """The digests of the runs of which a meter has yet to measure something in a process of its own.

        Such a run is finished: the command was interrupted between the run and the job that follows it.
        """
        if not measures.costs:
            return set()
        return {
            digest
            for digest, record in self._read().items()
            if record.result is not None
            and record.result.costs is not None
            and STILL_ALONE in record.result.costs.absent.values()
        }


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keeps the garbage collector from searching thousands of records, millions of objects that all stay."""
    resume = gc.enable if gc.isenabled() else gc.disable
    gc.disable()
    try:
        yield
    finally:
        resume()


def load_outputs(out: str | Path, digest: str) -> dict[str, np.ndarray]:
    """Loads what the model of a finished run answered on the test rows.

    Args:
        out: the folder of the comparison.
        digest: of the run, as its record and `bench.load_records` give it.

    Returns:
        `logits`, (examples, outputs) in float32, and `labels`, (examples,), both in the order of the test rows.

    Raises:
        UserError: the folder holds no outputs of such a run.

    Examples:
        >>> import bench
        >>> done = bench.compare("head", preset="smoke", k=16, seeds=1, steps=2,
        ...                      costs=False, energy=False, effective=False, profile=False, out="out")
        >>> outputs = bench.load_outputs("out", done.records[0].digest)
        >>> outputs["logits"].shape, outputs["labels"].shape
        ((300, 3), (300,))
    """
    import numpy as np

    path = record_path(Path(out), digest).with_suffix(".npz")
    if not path.is_file():
        raise UserError(f"{path}: no such file; outputs are kept of runs that finished, by the digest of their record")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def gates_path(out: Path, digest: str) -> Path:
    """The gate values of a record; there is none for a method without gates."""
    return record_path(out, digest).with_suffix(".gates.parquet")


def weights_path(out: Path, digest: str) -> Path:
    """What a record's run has to store; there if the run kept it."""
    return record_path(out, digest).with_suffix(".safetensors")


def _holds(out: Path, record: Record, measures: Measures | None, sources: Mapping[str, str]) -> bool:
    """Whether a run measured and kept what is asked for now."""
    result = record.result
    if result is None and record.asked.is_trial and record.status == "failed":
        return True  # it counts as it is: to try it until it succeeds would favour methods that fail by chance
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


def _settle_aside(out: Path) -> None:
    """Ends what an earlier version left undone when it was killed: it put a record aside as `*.earlier`.

    Of each run the new attempt stays if it has a result, and the earlier record otherwise. The record is moved last:
    while it lies aside, so does all that belongs to it, and a process that is killed in between loses nothing.
    """
    left = {file.name.partition(".")[0] for file in runs_folder(out).glob(f"*{_ASIDE}")}
    for digest in sorted(left):
        path = record_path(out, digest)
        new_stays = path.exists() and read_record(path).result is not None
        for suffix in (*BESIDE, ".json"):
            file = path.with_suffix(suffix)
            aside = file.with_name(file.name + _ASIDE)
            if new_stays and file.exists():
                aside.unlink(missing_ok=True)
            elif aside.exists():
                aside.replace(file)


@contextmanager
def claimed(out: Path) -> Iterator[RecordFolder]:
    """Holds a comparison's folder for the block, and gives it: no other process writes there meanwhile.

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
        _settle_aside(out)
        yield RecordFolder(out)
    finally:
        lock.release()
