"""What becomes of an attempt at a run: the one place where the records of a comparison's folder are written.

A job leaves its files in a folder of its own under `OUT/.attempts/`. They are taken over from there when it has ended,
so that an earlier record of the run stays in its place until then. A command that is killed leaves the job's folder,
and the next one takes over what is in it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from tempfile import mkdtemp

from bench.grid.executors.executor import Attempt
from bench.records.record import COUNTED, Costs, Record
from bench.records.spec import AloneJob, Job, Measures, RunSpec
from bench.records.store import BESIDE, RecordFolder, read_record, record_path, runs_folder

ALONE = "alone.json"
"""The file that an `AloneJob` leaves: `figures`, and `absent`, the reasons for those that there are not."""

_UNENDED = "the command that did the run ended before its costs were measured"


def job_folder(folder: RecordFolder) -> Path:
    """Makes an empty folder for the files of a job, on the file system of the comparison's folder."""
    place = _attempts(folder.out)
    place.mkdir(parents=True, exist_ok=True)
    return Path(mkdtemp(dir=place))


def drop(job_folder: Path) -> None:
    """Removes a job's folder, and the folder of all of them with the last one."""
    shutil.rmtree(job_folder, ignore_errors=True)
    try:
        job_folder.parent.rmdir()
    except OSError:  # there are others
        return


def unpack(attempt: Attempt, job_folder: Path) -> None:
    """Writes the files that an attempt holds itself into its job's folder."""
    for name, content in attempt.files.items():
        path = job_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def take_over(
    folder: RecordFolder,
    job: Job,
    attempt: Attempt,
    job_folder: Path,
    *,
    started_at: datetime,
    wall_time_s: float | None,
    submitted: int = 1,
) -> Record:
    """Writes what came of a run into the comparison's folder.

    A record of the run that is there is replaced by one that has more. Where this attempt comes to less, the earlier
    record stays, with the reason why the figures that were to be measured now are absent.

    Args:
        folder: of the comparison.
        job: the run.
        attempt: how it ended.
        job_folder: where its files are.
        started_at: when it was submitted, for the record of a run that left none.
        wall_time_s: seconds since then; None where other runs were made beside it.
        submitted: how many times it was, where the place of earlier ones was lost.

    Returns:
        The record of this attempt: as the worker left it, or one that says how the process ended.
    """
    record = _left_in(job_folder, job.run.digest, attempt.ended)
    if record is None:
        times = f"; it was submitted {submitted} times" if submitted > 1 else ""
        record = failed(
            job.run, f"{attempt.ended}{times}", traceback=None, started_at=started_at, wall_time_s=wall_time_s
        )
    if submitted > 1:
        record = record.model_copy(update={"environment": {**record.environment, "submitted": submitted}})
    earlier = folder.by_digest.get(record.digest)
    if earlier is not None and _comes_to_less(record, earlier):
        folder.write(_noted(earlier, record, job.measures))
        stays = f"{record.reason}; the scores of an earlier run of it stay"
        return record.model_copy(update={"status": "failed", "reason": stays, "result": None})
    folder.write(record, files=_files(job_folder, record.digest))
    return record


def settle(folder: RecordFolder) -> None:
    """Takes over what is left of jobs whose command ended before them, unless the folder has a better record."""
    for left in sorted(_attempts(folder.out).glob("*")):
        for path in runs_folder(left).glob("*.json"):
            record = _left_in(left, path.stem, _UNENDED)
            earlier = folder.by_digest.get(path.stem)
            if record is not None and (earlier is None or not _comes_to_less(record, earlier)):
                folder.write(record, files=_files(left, record.digest))
        drop(left)


def _attempts(out: Path) -> Path:
    return out / ".attempts"


def _left_in(job_folder: Path, digest: str, ended: str) -> Record | None:
    """The record that a worker left; one of a worker that died after it had scored its run says how."""
    path = record_path(job_folder, digest)
    if not path.exists():
        return None
    record = read_record(path)
    return record if record.complete else record.model_copy(update={"reason": ended})


def _files(job_folder: Path, digest: str) -> list[Path]:
    """Outputs, gate values and weights that a worker left."""
    files = [record_path(job_folder, digest).with_suffix(suffix) for suffix in BESIDE]
    return [file for file in files if file.exists()]


def failed(
    spec: RunSpec, reason: str, *, traceback: str | None, started_at: datetime, wall_time_s: float | None
) -> Record:
    """The record of a run that came to nothing."""
    from bench.environment import versions

    return Record(
        digest=spec.digest,
        status="failed",
        reason=reason,
        traceback=traceback,
        asked=spec,
        environment={"versions": versions()},
        started_at=started_at.isoformat(timespec="seconds"),
        wall_time_s=wall_time_s,
    )


def refused(spec: RunSpec, reason: str) -> Record:
    """The record of a run that the method cannot do on this model."""
    from bench.environment import versions

    return Record(
        digest=spec.digest,
        status="unsupported",
        reason=reason,
        asked=spec,
        environment={"versions": versions()},
        started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _comes_to_less(attempt: Record, earlier: Record) -> bool:
    """Whether a new attempt at a run lacks what the earlier one has: a result, or costs measured to the end."""
    if earlier.result is None:
        return False
    measured = earlier.complete and earlier.result.costs is not None
    return attempt.result is None or (measured and not attempt.complete)


def _noted(earlier: Record, attempt: Record, measures: Measures) -> Record:
    """The earlier record of a run, with the reason why it lacks what a failed attempt was to measure.

    What it has stands. Where it has no costs and they were to be measured it is not complete, so that the next command
    that measures them tries again; whatever else it lacks is missed by every command that measures it.
    """
    if earlier.result is None:
        return earlier
    why = f"measured anew in vain: {attempt.reason}"
    result, costs, complete = earlier.result, earlier.result.costs, earlier.complete
    if costs is None and measures.costs:
        costs, complete = Costs(absent=dict.fromkeys(("stored_bytes", *COUNTED), why)), False
    elif costs is not None and not complete:
        lacking = {name: why for name in costs.absent if name in COUNTED}
        costs = costs.model_copy(update={"absent": costs.absent | lacking})
    if costs is not None and measures.effective and result.effective is None:
        costs = costs.model_copy(update={"absent": costs.absent | {"effective": why}})
    return earlier.model_copy(
        update={
            "result": result.model_copy(update={"costs": costs}),
            "complete": complete,
            "reason": why,
            "traceback": attempt.traceback,
        }
    )


# What meters measure in processes of their own, as jobs that follow the run ------------------------------------------


def follow_up(job: Job, record: Record) -> AloneJob | None:
    """The next meter that has yet to measure a run in a process of its own, as a job; None once all have."""
    from bench.costs.alone import shapes_of, still_alone

    train_shape, test_shape = shapes_of(record)
    for name in still_alone(record, job):
        return AloneJob(meter=name, alone_of=job.run, train_shape=train_shape, test_shape=test_shape)
    return None


def add_alone(folder: RecordFolder, record: Record, job: AloneJob, job_folder: Path) -> Record:
    """Adds the figures that a job left to the record of its run, or the reason why there are none."""
    path = job_folder / ALONE
    if not path.exists():
        return lack_alone(folder, record, job, "the child that measures it died")
    left = json.loads(path.read_text("utf-8"))
    return _answered(folder, record, left["figures"], left["absent"])


def lack_alone(folder: RecordFolder, record: Record, job: AloneJob, reason: str) -> Record:
    """Writes a record with the reason why it lacks the figures of a job that follows it."""
    from bench.meters.meter import measured_keys
    from bench.registry.meters import resolve_meter

    return _answered(folder, record, {}, dict.fromkeys(measured_keys(resolve_meter(job.meter).meter), reason))


def _answered(
    folder: RecordFolder, record: Record, figures: Mapping[str, int | float], absent: Mapping[str, str]
) -> Record:
    result = record.result
    if result is None or result.costs is None:
        return record
    costs = result.costs.with_answer(figures, absent)
    updated = record.model_copy(update={"result": result.model_copy(update={"costs": costs})})
    folder.write(updated)
    return updated
