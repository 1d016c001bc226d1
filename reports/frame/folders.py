"""Reads the output folders of comparisons and joins them; refuses folders that are not comparable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import UserError
from bench.records import store
from bench.records.store import Profile, Record
from reports.frame.frame import FOLDER_MARK


def read_profiles(outs: Sequence[Path]) -> dict[str, Profile]:
    """Reads the profiles in folders, by file name, or by path where there are several folders.

    Raises:
        UserError: one is damaged.
    """
    profiles = {path: profile for out in outs for path, profile in store.read_profiles(out).items()}
    if len(outs) == 1:
        return {path.name: profile for path, profile in profiles.items()}
    return {str(path): profile for path, profile in profiles.items()}


def side_by_side(folders: Mapping[str, Sequence[Record]]) -> list[Record]:
    """The records of several folders as one comparison.

    Where folders hold the same run, all methods get their folder's name added: `lora @out2`.

    Raises:
        UserError: two folders differ in protocol, or in the revision of a task or model that both have.
    """
    names = list(folders)
    for number, name in enumerate(names):
        for other in names[number + 1 :]:
            _refuse(name, folders[name], other, folders[other])
    counts = Counter(record.digest for records in folders.values() for record in records)
    if max(counts.values(), default=0) < 2:
        return [record for records in folders.values() for record in records]
    return [_renamed(record, name) for name, records in folders.items() for record in records]


def _refuse(name: str, ours: Sequence[Record], other: str, theirs: Sequence[Record]) -> None:
    """Raises a `UserError` if two folders are not comparable."""
    start = f"{name} and {other} are not comparable"
    remedy = "report them apart, or run one of them anew"
    here, there = ({r.asked.protocol.model_dump_json() for r in records} for records in (ours, theirs))
    if here != there:
        fields = _differing(here, there)
        raise UserError(f"{start}: another protocol ({fields}); {remedy}")
    for what in ("task", "model"):
        revisions = [_revisions(records, what) for records in (ours, theirs)]
        for label in sorted(revisions[0].keys() & revisions[1].keys()):
            if revisions[0][label] != revisions[1][label]:
                pins = " and ".join(", ".join(sorted(pin[:12] for pin in pinned[label])) for pinned in revisions)
                kind = "data" if what == "task" else what
                raise UserError(f"{start}: {what} {label} is of {kind} revision {pins}; {remedy}")
    _check_rows([*ours, *theirs], start)


def check_one(records: Sequence[Record], out: Path) -> None:
    """Checks that all runs of a folder used the same revision of each task and model, and the same rows.

    Raises:
        UserError: they did not; the message names the task or model and what to do.
    """
    for what in ("task", "model"):
        for label, pins in _revisions(records, what).items():
            if len(pins) > 1:
                listed = ", ".join(sorted(pin[:12] for pin in pins))
                raise UserError(f"{out} holds runs of {what} {label} at revisions {listed}: use a new --out")
    _check_rows(records, f"{out} holds runs that are not comparable")


def _check_rows(records: Sequence[Record], start: str) -> None:
    """Raises a `UserError` unless all runs of the same task, K and data seed used the same rows."""
    seen: dict[tuple[object, ...], str] = {}
    for record in records:
        if record.result is None:
            continue
        asked = record.asked
        key = (asked.task.name, asked.task.revision, asked.k, asked.data_seed, asked.protocol.dev)
        if seen.setdefault(key, record.result.data_digest) != record.result.data_digest:
            raise UserError(f"{start}: {asked.title} used other rows than another run of that task, K and seed")


def _revisions(records: Sequence[Record], what: str) -> dict[str, set[str]]:
    revisions: dict[str, set[str]] = {}
    for record in records:
        if what == "task":
            revisions.setdefault(record.asked.task.label, set()).add(record.asked.task.revision)
        else:
            revisions.setdefault(record.asked.model.name, set()).add(record.asked.model.revision)
    return revisions


def _differing(here: set[str], there: set[str]) -> str:
    """The fields of the protocol whose values differ between two sets of protocols in JSON, in words."""
    sides = [[json.loads(text) for text in sorted(texts)] for texts in (here, there)]
    words = []
    for field in sides[0][0]:
        values = [sorted({str(protocol.get(field)) for protocol in side}) for side in sides]
        if values[0] != values[1]:
            words.append(f"{field} {'/'.join(values[0])} against {'/'.join(values[1])}")
    return ", ".join(words) or "other combinations of the same settings"


def _renamed(record: Record, folder: str) -> Record:
    asked = record.asked
    method = asked.method.model_copy(update={"label": f"{asked.method.label}{FOLDER_MARK}{folder}"})
    return record.model_copy(update={"asked": asked.model_copy(update={"method": method})})
