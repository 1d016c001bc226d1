"""Finds the profile whose time ratios may stand beside a run: one of the same setting, or none, with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.records.store import Profile, ProfileRow, Record, timed_alike

Profiles = Mapping[str, Profile]
"""File name -> a profile."""

_UNKNOWN = "not recorded"
_BY_DEFAULT = {"precision": "float32", "clipping": "none"}
"""What a profile that does not record these is taken for; beside runs of anything else it has no place.

Its head is taken for the model's usual one. The weights' revision may be unknown: no time depends on their values.
"""
USUAL_HEADS = {"minilm-l6": "mean"}
"""Model -> its usual head when profiles did not record theirs; any other model's was `native`."""


@dataclass(frozen=True)
class Fit:
    """The profile that belongs to a run.

    Attributes:
        profile: a profile of the same setting as the run; None where there is none.
        words: its shape and setting, and how it was chosen where several fit.
        reason: why there is none; None also where nobody profiled the run's model.
    """

    profile: Profile | None = None
    words: str | None = None
    reason: str | None = None


def fits(records: Sequence[Record], profiles: Profiles) -> list[Fit]:
    """Finds the profile for each run.

    All runs of one model and setting get the same profile: of several that fit, the one that has most of their
    methods, then one that is not suspect, then one whose head has as many outputs as that of some of them, then the
    one of most rounds, then the newest, then the last by name. Outputs alone refuse none, for runs of several tasks
    share a profile; where they differ, the words say so.
    Where the runs of one table have different profiles none is given: ratios of two settings do not stand in
    one column.
    """
    groups: dict[tuple[str, ...], list[Record]] = {}
    keys = [_key(record) for record in records]
    for key, record in zip(keys, records, strict=True):
        if record.result is not None:
            groups.setdefault(key, []).append(record)
    chosen = {key: _choice(group, profiles) for key, group in groups.items()}
    chosen_fits = [chosen.get(key, Fit()) for key in keys]
    places = [_table(record) for record in records]
    seen: dict[str, set[str]] = {}
    for place, fit in zip(places, chosen_fits, strict=True):
        if fit.words is not None:
            seen.setdefault(place, set()).add(fit.words)
    mixed = Fit(reason="the runs of this table were made in several settings, each with a profile of its own")
    return [mixed if len(seen.get(place, ())) > 1 else fit for place, fit in zip(places, chosen_fits, strict=True)]


def row_of(profile: Profile, record: Record, label: str) -> tuple[ProfileRow | None, str | None]:
    """The times of the run's method in a profile; or None and the reason why the profile has none."""
    if not profile.methods:  # made before methods were recorded: the label is all there is
        row = profile.rows.get(label)
        return row, None if row else f"{label} is not in the profile"
    for name in (label, *profile.methods):
        if name in profile.methods and timed_alike(profile.methods[name], record.asked.method):
            return profile.rows.get(name), None
    other = label in profile.methods
    return None, f"the profile timed another {label}" if other else f"{label} is not in the profile"


def _key(record: Record) -> tuple[str, ...]:
    return (record.asked.model.name, *_run_setting(record).values())


def _table(record: Record) -> str:
    """A key of the table of a run: runs that differ in it never share a cell."""
    asked = record.asked
    return json.dumps([asked.model.name, asked.k, asked.protocol.model_dump_json()])


def _run_setting(record: Record) -> dict[str, str]:
    """Everything that the times of a run depend on: name in words -> value."""
    protocol, here = record.asked.protocol, record.environment
    versions = here.get("versions", {})
    device = here.get("device") or (None if protocol.device == "auto" else protocol.device)
    facts = {
        "model revision": record.asked.model.revision,
        "head": record.result.head_kind if record.result else None,
        "batch": protocol.batch_size,
        "threads": here.get("threads") or protocol.threads,
        "device": device and str(device).partition(":")[0],
        "machine": here.get("device_name"),
        "precision": protocol.precision,
        "clipping": protocol.max_gradient_norm or "none",
        "allocator": here.get("allocator"),
        "torch": versions.get("torch"),
        "transformers": versions.get("transformers"),
        "methods' code": here.get("methods_code"),
    }
    return {name: _UNKNOWN if value is None else str(value) for name, value in facts.items()}


def _profile_setting(profile: Profile) -> dict[str, str]:
    """Everything that the times of a profile depend on: name in words -> value."""
    key, here = profile.setting, profile.environment
    versions = here.get("versions", {})
    facts = {
        "model revision": key and key.revision,
        "head": key and key.head,
        "batch": profile.batch,
        "threads": profile.threads,
        "device": profile.device.partition(":")[0],
        "machine": here.get("device_name"),
        "precision": key and key.precision,
        "clipping": key and (key.max_gradient_norm or "none"),
        "allocator": here.get("allocator"),
        "torch": versions.get("torch"),
        "transformers": versions.get("transformers"),
        "methods' code": key and key.methods_code,
    }
    return {name: _UNKNOWN if value is None else str(value) for name, value in facts.items()}


def _differences(profile: Profile, run_with: Mapping[str, str]) -> list[str]:
    """The differences between the setting of a profile and that of runs of its model, in words.

    A fact that the profile does not record counts as a difference, unless the runs have the default assumed for it.
    """
    timed_with = _profile_setting(profile)
    head = USUAL_HEADS.get(profile.model, "native")
    taken_for = {**_BY_DEFAULT, "head": head, "model revision": run_with["model revision"]}
    differences = []
    for name, run in run_with.items():
        timed = timed_with[name]
        if timed == run:
            continue
        if timed == _UNKNOWN and run == taken_for.get(name):
            continue
        if run == _UNKNOWN and name not in ("allocator", "threads", "device"):
            continue
        differences.append(f"{name} {timed} (the runs: {run})")
    return differences


def _choice(group: Sequence[Record], profiles: Profiles) -> Fit:
    """The profile for runs of one model and setting."""
    run_with = _run_setting(group[0])
    here = {name: profile for name, profile in profiles.items() if profile.model == group[0].asked.model.name}
    if not here:
        return Fit()
    contradicted = {name: _differences(profile, run_with) for name, profile in here.items()}
    fitting = [name for name, differences in contradicted.items() if not differences]
    if not fitting:
        nearest = min(contradicted, key=lambda name: (len(contradicted[name]), name))
        start = "the model's profile is" if len(here) == 1 else f"none of {len(here)} profiles fits; the nearest is"
        return Fit(reason=f"{start} of another setting: {', '.join(contradicted[nearest])}")
    methods = {record.asked.method.model_dump_json(): record for record in group}.values()
    outputs = {record.result.outputs for record in group if record.result is not None} - {None}

    def merit(name: str) -> tuple[int, bool, bool, int, str, str]:
        profile = here[name]
        labels = [(record, record.asked.method.label.partition(" @")[0]) for record in methods]
        covered = sum(row_of(profile, record, label)[0] is not None for record, label in labels)
        alike = _outputs(profile) in outputs
        return covered, profile.suspect is None, alike, profile.rounds, profile.measured_at or "", name

    best = max(fitting, key=merit)
    words = _words(here[best])
    if others := sorted(number for number in outputs - {_outputs(here[best])} if number is not None):
        listed = ", ".join(map(str, others))
        words += f"; the profile's head has {_outputs(here[best])} outputs, some runs' {listed}"
    if len(fitting) > 1:
        chosen = "the one of most methods, then of the runs' number of outputs, then of most rounds, then the newest"
        words += f"; {best}, of {len(fitting)} profiles that fit {chosen}"
    return Fit(here[best], words)


def _outputs(profile: Profile) -> int:
    """Logits of the head that a profile timed; before they were recorded they were always two."""
    return 2 if profile.setting is None else profile.setting.outputs


def _words(profile: Profile) -> str:
    """`minilm-l6, 16 x 32 tokens, 2 threads, cpu (its name), float32, ...`."""
    setting = _profile_setting(profile)
    machine = "" if setting["machine"] == _UNKNOWN else f" ({setting['machine']})"
    threads = f"{profile.threads} thread{'' if profile.threads == 1 else 's'}"
    words = [profile.model, f"batch {profile.batch} x {profile.tokens} tokens", threads, setting["device"] + machine]
    shown = {"precision": "{}", "head": "head {}", "allocator": "{}", "clipping": "clipping {}", "torch": "torch {}"}
    words += [
        text.format(setting[name])
        for name, text in shown.items()
        if setting[name] != _UNKNOWN and (name, setting[name]) != ("clipping", "none")
    ]
    unknown = [name for name in shown if setting[name] == _UNKNOWN]
    words.append(f"{profile.rounds} rounds")
    return ", ".join(words) + (f"; not recorded: {', '.join(unknown)}" if unknown else "")
