"""A time ratio is printed beside runs of its profile's setting alone, and its setting is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.records.spec import Protocol
from bench.records.store import Profile, Record, write_profile
from bench.sources.models import SHIPPED
from benchmarks.records import ALLOCATOR, profile, records
from reports.frame.frame import frame
from reports.frame.profiles import USUAL_HEADS
from reports.report import write


def only(**settings: Any) -> list[Record]:
    return records(methods=["full", "lora"], tasks=["trec"], seeds=1, **settings)


def elsewhere(found: list[Record], **changes: Any) -> list[Record]:
    return [one.model_copy(update={"environment": one.environment | changes}) for one in found]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": 1}, "threads 1 (the runs: 2)"),
        ({"batch": 32}, "batch 32 (the runs: 16)"),
        ({"precision": "bf16"}, "precision bf16 (the runs: float32)"),
        ({"device": "cuda"}, "device cuda (the runs: cpu)"),
        ({"device_name": "other"}, "machine other (the runs: made-up processor)"),
        ({"head": "cls"}, "head cls (the runs: mean)"),
        ({"max_gradient_norm": 1.0}, "clipping 1.0 (the runs: none)"),
        ({"allocator": "jemalloc"}, f"allocator jemalloc (the runs: {ALLOCATOR})"),
        ({"revision": "1"}, "model revision 1 (the runs: 00000000)"),
        ({"torch": "2.14.0"}, "torch 2.14.0 (the runs: 2.13.0)"),
        ({"methods_code": "sha256:1"}, "methods' code sha256:1 (the runs: sha256:0123456789abcdef)"),
        ({"methods_code": None}, "methods' code not recorded (the runs: sha256:0123456789abcdef)"),
    ],
)
def test_a_profile_of_another_setting_gives_no_ratio(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = only()
    assert frame(found, {"right": profile()})["train_step_ratio"].notna().all()
    runs = frame(found, {"other": profile(**changes)})
    assert "train_step_ratio" not in runs
    reason = f"the model's profile is of another setting: {words}"
    assert {absent["train_step_ratio"] for absent in runs["absent"]} == {reason}
    both = frame(found, {"other": profile(**changes), "right": profile()})
    assert both["train_step_ratio"].notna().all(), "the one that fits is found beside the other"
    write_profile(tmp_path, profile(**changes))
    write(found, tmp_path, formats=["markdown"])
    text = (tmp_path / "report.md").read_text()
    assert "step time / full:" in text
    assert "1.000 [" not in text


def test_profiles_of_two_settings_lie_side_by_side_and_each_stands_with_its_runs(tmp_path: Path) -> None:
    small, large = profile(batch=2, threads=1), profile(batch=32, threads=1)
    timing = small.rows["lora"].train_step
    assert timing is not None
    small.rows["lora"] = small.rows["lora"].model_copy(
        update={"train_step": timing.model_copy(update={"ratio": 0.5, "low": 0.45, "high": 0.55})}
    )
    assert write_profile(tmp_path, small) != write_profile(tmp_path, large)
    found = [
        *elsewhere(only(protocol=Protocol(batch_size=2)), threads=1),
        *elsewhere(only(protocol=Protocol(batch_size=32)), threads=1),
    ]
    write(found, tmp_path, formats=["markdown", "html"])
    text, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    for shape in ("batch 2 x 24 tokens, 1 thread, cpu (made-up processor)", "batch 32 x 24 tokens, 1 thread"):
        assert shape in text
        assert shape in page
    runs = frame(found, {"small": small, "large": large})
    ratios = {(row["protocol"], row["method"]): row["train_step_ratio"] for row in runs.to_dict("records")}
    assert ratios["batch size 2", "lora"] == 0.5
    assert ratios["batch size 32", "lora"] != 0.5


def test_of_several_that_fit_one_is_taken_for_all_and_named() -> None:
    few, many, late = profile(methods=["lora"]), profile(rounds=40), profile()
    late = late.model_copy(update={"measured_at": "2027-01-01T00:00:00+00:00"})
    for names, chosen in (({"few": few, "a": profile()}, "a"), ({"a": profile(), "b": many, "c": late}, "b")):
        (words,) = frame(only(), names)["profile"].unique()
        assert f"; {chosen}, of {len(names)} profiles that fit" in words
    (words,) = frame(only(), {"z": profile(), "c": late})["profile"].unique()
    assert "; c, of 2 profiles" in words
    suspect = late.model_copy(update={"suspect": "x"})
    (words,) = frame(only(), {"z": profile(), "c": suspect})["profile"].unique()
    assert "; z, of 2 profiles" in words


def old(**changes: Any) -> Profile:
    """As profiles were before they had a key."""
    found = profile()
    here = {name: value for name, value in found.environment.items() if name != "allocator"}
    return found.model_copy(update={"setting": None, "methods": {}, "environment": here, **changes})


def test_an_old_profile_stands_beside_old_runs_by_what_both_recorded() -> None:
    before = [
        one.model_copy(
            update={"environment": {k: v for k, v in one.environment.items() if k not in ("allocator", "methods_code")}}
        )
        for one in only()
    ]
    (words,) = frame(before, {"old": old()})["profile"].unique()
    assert words.endswith("; not recorded: precision, head, allocator, clipping")
    for runs, profiles in ((only(), old()), (before, profile()), (before, old(threads=1))):
        assert "train_step_ratio" not in frame(runs, {"one": profiles})
    clipped = [one.model_copy(update={"environment": before[0].environment}) for one in
               only(protocol=Protocol(max_gradient_norm=1.0))]  # fmt: skip
    assert "train_step_ratio" not in frame(clipped, {"old": old()})
    placeless = [one.model_copy(update={"environment": {}}) for one in before]
    reason = frame(placeless, {"old": old()})["absent"][0]["infer_ratio"]
    assert "threads 2 (the runs: not recorded)" in reason

    def headed(kind: str) -> list[Record]:
        return [
            one.model_copy(update={"result": one.result.model_copy(update={"head_kind": kind})})
            for one in before
            if one.result is not None
        ]

    assert "train_step_ratio" in frame(headed("mean"), {"old": old()}), "the model's usual head"
    reason = frame(headed("native"), {"old": old()})["absent"][0]["infer_ratio"]
    assert reason.endswith("of another setting: head not recorded (the runs: native)")
    for name in ("device_name", "versions"):
        here = {key: value for key, value in old().environment.items() if key != name}
        assert "train_step_ratio" not in frame(before, {"old": old(environment=here)}), name


def test_the_usual_heads_are_those_of_the_catalogue() -> None:
    assert {name: model.head for name, model in SHIPPED.items() if model.head != "native"} == USUAL_HEADS


def classified(count: int) -> list[Record]:
    return [
        one.model_copy(update={"result": one.result.model_copy(update={"classes": [str(n) for n in range(count)]})})
        for one in only()
        if one.result is not None
    ]


def test_a_head_of_another_size_is_said_and_one_of_the_runs_size_is_preferred() -> None:
    (words,) = frame(classified(2), {"a": profile()})["profile"].unique()
    assert "outputs" not in words
    (words,) = frame(classified(77), {"a": profile()})["profile"].unique()
    assert words.endswith("; the profile's head has 2 outputs, some runs' 77")
    both = {"a": profile(outputs=77), "z": profile(rounds=40)}
    (words,) = frame(classified(77), both)["profile"].unique()
    assert "; a, of 2 profiles" in words
    (words,) = frame(classified(2), both)["profile"].unique()
    assert "; z, of 2 profiles" in words


def test_a_method_that_raised_and_a_suspect_profile_are_said_beside_the_ratios(tmp_path: Path) -> None:
    found = profile().model_copy(update={"suspect": "the pass over itself came out as 1.2", "repeated": "y"})
    found.rows["lora"] = found.rows["lora"].model_copy(
        update={"train_step": None, "absent": {"train_step": "ValueError: layer 0 has no query"}}
    )
    write_profile(tmp_path, found)
    write(only(), tmp_path, formats=["markdown", "html"])
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "ValueError: layer 0 has no query" in text
        assert "SUSPECT, though measured twice: the pass over itself came out as 1.2" in text


def test_different_allocators_in_one_table_are_said(tmp_path: Path) -> None:
    full, lora = only()
    (other,) = elsewhere([lora], allocator="glibc 2.36, as the system has it")
    write([full, other], tmp_path, formats=["markdown"])
    assert "made under different allocators" in (tmp_path / "report.md").read_text()
    write([full, lora], tmp_path, formats=["markdown"])
    assert "made under different allocators" not in (tmp_path / "report.md").read_text()
