"""What a report leaves behind, side by side and beside the published, and what it refuses."""

from __future__ import annotations

import csv
import importlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from bench.errors import UserError
from bench.records.spec import Protocol
from bench.records.store import ProfileRow, Record, read_record, write_record
from benchmarks.records import METHODS, profile, records
from reports.columns.indices import DERIVED, KNOWN, PPT, PSCP, Derived, ppt_of, pscp_of
from reports.frame.environment import commands
from reports.frame.folders import check_one, read_profiles, side_by_side
from reports.frame.frame import frame
from reports.frame.panels import Panel, panels
from reports.report import FORMATS, Report, read_report, write
from reports.tables.published import published_table
from reports.tables.table import Table
from tests.conftest import bench


def panel(**settings: object) -> Panel:
    (found,) = panels(frame(records(**settings), {"minilm-l6": profile()}))  # type: ignore[arg-type]
    return found


def cell(table: Table, row: str, column: str) -> str:
    at = next(number for number, head in enumerate(table.header) if head.text.startswith(column))
    return next(cells[at].text for cells in table.rows if cells[0].text == row)


def score(record: Record) -> float:
    assert record.result is not None
    return record.result.test_scores[record.result.headline]


def test_all_formats_are_written(tmp_path: Path) -> None:
    found = records(methods=["full", "lora"], tasks=["trec"], seeds=2)
    paths = write(found, tmp_path, formats=FORMATS, columns=["train_flops", "pscp", "ppt"])
    names = {path.name for path in paths}
    assert {"report.md", "report.tex", "table.csv", "runs.csv", "report.json", "report.html"} <= names
    assert {"pareto-stored-bytes.svg", "pareto-stored-bytes.pdf", "pareto-stored-bytes.png"} <= names
    assert all(path.stat().st_size > 100 for path in paths)
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["lora", "full"]
    own = [score(record) for record in found if record.asked.method.label == "lora"]
    assert float(rows[0]["score_mean"]) == pytest.approx(mean(own))
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["settings"][0]["places"][0]["methods"][0]["score"]["mean"] == pytest.approx(mean(own))
    assert "PSCP" in (tmp_path / "report.md").read_text()
    assert r"\toprule" in (tmp_path / "report.tex").read_text()


def test_each_piece_is_made_once_for_terminal_files_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path, records(methods=["full", "lora"], seeds=2))
    calls: Counter[str] = Counter()

    def count(module: str, name: str) -> None:
        original = getattr(importlib.import_module(module), name)

        def counted(*args: Any, **settings: Any) -> Any:
            calls[name] += 1
            return original(*args, **settings)

        monkeypatch.setattr(f"{module}.{name}", counted)

    pieces = {
        "reports.report": ["read_records", "read_profiles"],
        "reports.frame.frame": ["frame"],
        "reports.frame.panels": ["panels"],
        "reports.tables.sections": ["leader", "decide", "advice", "answers", "headline", "sure", "missing", "tables"],
        "reports.tables.tables": ["main", "accuracy", "differences"],
        "reports.tables.published": ["published_table"],
    }
    for module, names in pieces.items():
        for name in names:
            count(module, name)
    text_formats = ",".join(FORMATS[:5])
    assert bench("report", str(tmp_path), "--format", text_formats, monkeypatch=monkeypatch) == 0
    assert calls == dict.fromkeys((name for names in pieces.values() for name in names), 1)
    assert "Use full" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()


def test_a_derived_column_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    column = replace(PPT, key="double", label="twice the score")
    monkeypatch.setitem(DERIVED, "double", Derived(column, lambda runs: 2 * runs["score"]))
    monkeypatch.setitem(KNOWN, "double", column)
    one = Report(records=records(methods=["full"], tasks=["trec"], seeds=1), columns=["double"])
    (section,) = one.sections
    assert float(cell(section.main, "full", "twice the score")) == pytest.approx(2 * one.runs["score"][0], abs=0.01)
    assert "ppt" not in one.runs, "only what was chosen is computed"


def test_nothing_but_failures_still_makes_a_report(tmp_path: Path) -> None:
    lost = [("lora", "trec", seed) for seed in range(2)]
    found = records(methods=["lora"], tasks=["trec"], seeds=2, lost=lost)
    assert {path.name for path in write(found, tmp_path)} >= {"report.md", "report.html"}
    assert "2 failed" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"columns": ["stored_byte"]}, "--columns stored_byte: no such figure; did you mean stored_bytes"),
        ({"formats": ["word"]}, "--format word: there is markdown"),
        ({"by": "seed"}, "--by seed: one of task, k, model"),
        ({"margin": -0.1}, "--margin -0.1: a difference in score, 0 or more"),
    ],
)
def test_what_is_unknown_is_named(tmp_path: Path, settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        write(records(seeds=1), tmp_path, **settings)  # type: ignore[arg-type]


def folder(path: Path, found: list[Record]) -> Path:
    for record in found:
        write_record(path, record)
    return path


def test_folders_side_by_side(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", records(methods=["full"], seeds=2))
    two = folder(tmp_path / "two", records(methods=["lora"], seeds=2))
    paths = read_report([one, two]).write(tmp_path / "both", formats=["csv"])
    assert {path.parent for path in paths} == {tmp_path / "both"}
    assert {row["method"] for row in csv.DictReader(paths[0].read_text().splitlines())} == {"full", "lora"}
    same = side_by_side({"one": records(methods=["full"]), "two": records(methods=["full"])})
    assert {record.asked.method.label for record in same} == {"full @one", "full @two"}


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (
            records(seeds=1, revision="2"),
            "one and two are not comparable: task trec is of data revision trec-1 and trec-2",
        ),
        (
            records(seeds=1, protocol=Protocol(dev="k", epochs=3, batch_size=8)),
            "one and two are not comparable: another protocol .epochs 10 against 3, batch_size 16 against 8",
        ),
    ],
)
def test_what_is_not_comparable_is_refused_by_name(other: list[Record], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        side_by_side({"one": records(seeds=1), "two": other})


def test_one_folder_with_two_revisions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds runs of task trec at revisions trec-1, trec-2"):
        check_one([*records(seeds=1), *records(seeds=1, revision="2")], tmp_path)


def test_other_rows_are_refused(tmp_path: Path) -> None:
    found = records(methods=["full", "lora"], tasks=["trec"], seeds=1)
    assert found[1].result is not None
    other = found[1].model_copy(update={"result": found[1].result.model_copy(update={"data_digest": "f"})})
    with pytest.raises(UserError, match=r"lora on trec, K=100, seed 0 used other rows"):
        check_one([found[0], other], tmp_path)


def test_a_damaged_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "x.json").write_text("{}")
    with pytest.raises(UserError, match=r"x.json is damaged"):
        read_profiles([tmp_path])


def test_of_two_folders_profiles_one_is_taken_and_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "profiles").mkdir(parents=True)
        (tmp_path / name / "profiles" / "m.json").write_text(profile().model_dump_json())
    assert set(read_profiles([tmp_path / "one"])) == {"m.json"}
    both = read_profiles([tmp_path / "one", tmp_path / "two"])
    assert set(both) == {str(tmp_path / name / "profiles" / "m.json") for name in ("one", "two")}
    (words,) = frame(records(), both)["profile"].unique()
    assert f"; {tmp_path / 'two' / 'profiles' / 'm.json'}, of 2 profiles that fit" in words
    same = side_by_side({"one": records(methods=["full"]), "two": records(methods=["full"])})
    assert frame(same, {"minilm-l6": profile()})["train_step_ratio"].tolist() == [1.0] * len(same)


def test_a_ratio_belongs_to_its_model() -> None:
    timing = profile().rows["full"].train_step
    assert timing is not None
    other = timing.model_copy(update={"ratio": 1.5, "low": 1.4, "high": 1.6})
    slow = profile("b").model_copy(update={"rows": {"full": ProfileRow(train_step=other)}})
    found = records(methods=["full"], models=["a", "b"], tasks=["trec"])
    (one,) = panels(frame(found, {"a": profile("a"), "b": slow}), by="model")
    assert one.costs["full", "a"]["train_step_ratio"].mean == 1.0
    assert one.costs["full", "b"]["train_step_ratio"].interval == (1.4, 1.6)


def test_published_figures_stand_beside_what_matches() -> None:
    found = records(tasks=["glue/rte"], ks=[100, 200], models=["google-bert/bert-base-uncased"])
    table = published_table(panels(frame(found)))
    assert table is not None
    assert cell(table, "glue/rte", "published") == "47.65 ± 3.56"  # BitFit, Table 1 of the paper
    assert any("K = 200" in note for note in table.notes)
    assert published_table(panels(frame(records()))) is None
    other = published_table(panels(frame(records(tasks=["glue/rte"]))))
    assert other is not None
    assert not other.rows
    assert any("minilm-l6: the paper has bert-base-uncased only" in note for note in other.notes)


def test_pscp_by_hand() -> None:
    runs = frame(records(methods=["full", "lora"], tasks=["trec"], seeds=1))
    by_method = dict(zip(runs["method"], pscp_of(runs), strict=True))
    full = runs[runs["method"] == "full"].iloc[0]
    expected = full["score"] / (1 + full["trained_parameters"] / 5e8) / (1 + full["train_live_bytes"] / 94e9)
    assert by_method["full"] == pytest.approx(expected)  # the fewest FLOPs: no penalty for them
    assert by_method["lora"] < runs[runs["method"] == "lora"].iloc[0]["score"]
    assert PSCP.better is None


def test_ppt_by_hand() -> None:
    runs = frame(records(methods=["full", "head"], tasks=["trec"], seeds=1)).set_index("method")
    found = ppt_of(runs)
    assert found["head"] == runs["score"]["head"]  # trains nothing outside the head: no penalty
    # full trains 22,565,376: exp(-log10(3.2565376)) = exp(-0.512756)
    assert found["full"] == pytest.approx(runs["score"]["full"] * 0.598842, rel=1e-5)
    assert PPT.better is None


def test_the_command_to_redo_it() -> None:
    found = records(methods=["full", "lora"], seeds=2, ks=[100, None])
    (command,) = commands(found)
    assert command.startswith("bench compare 'full[learning_rate=0.0001]' 'lora[learning_rate=0.001,r=8]'")
    assert "--task trec --task tweet_valence --k 100,all --seeds 2 --model minilm-l6 --dev k --epochs 10" in command
    noted = [record.model_copy(update={"environment": {"command": "bench compare lora"}}) for record in found]
    assert commands(noted) == ["bench compare lora"]


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).resolve().parents[1].glob("records/*.json")), ids=lambda path: path.name
)
def test_old_records_are_reported_on(path: Path, tmp_path: Path) -> None:
    assert (tmp_path / "report.html") in write([read_record(path)], tmp_path, formats=["html", "markdown"])


def test_reports_import_neither_torch_nor_drawing() -> None:
    code = (
        "import sys, reports.report, reports.formats.page, reports.tables.tables, reports.figures.draw\n"
        "sys.exit(len({'torch', 'matplotlib', 'jinja2', 'plotly'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_method_of_the_factory_is_there() -> None:
    assert set(panel().methods) == set(METHODS)
