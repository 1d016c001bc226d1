"""From records to tables: what is averaged, what is compared, what is said where something lacks."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config import Protocol
from bench.errors import UserError
from bench.store import Record, read_record, write_record
from benchmarks.records import METHODS, profile, records
from reports.beside import PSCP, pscp_of, published_table
from reports.cells import Table
from reports.columns import BY_KEY
from reports.environment import commands
from reports.estimates import by_column, estimate_of
from reports.frame import frame
from reports.gather import check_one, read_profiles, side_by_side
from reports.numerals import rounded, scale_of, significant, written
from reports.outputs import FORMATS, show, write, write_many
from reports.panels import OVERALL, Panel, panels
from reports.render import latex, markdown
from reports.tables import accuracy, costs, differences, main, tables
from reports.words import answers, leader, sentences


def panel(**settings: object) -> Panel:
    (found,) = panels(frame(records(**settings), {"minilm-l6": profile()}))  # type: ignore[arg-type]
    return found


def cell(table: Table, row: str, column: str) -> str:
    at = next(number for number, head in enumerate(table.header) if head.text.startswith(column))
    return next(cells[at].text for cells in table.rows if cells[0].text == row)


def score(record: Record) -> float:
    assert record.result is not None
    return record.result.test_scores[record.result.headline]


def test_a_score_is_mean_and_deviation_over_seeds() -> None:
    found = records(methods=["full", "lora"], tasks=["trec"])
    own = [score(record) for record in found if record.asked.method.label == "lora"]
    (one,) = panels(frame(found))
    assert cell(main(one), "lora", "trec") == f"{mean(own):.3f} ± {stdev(own):.3f}"
    contrast = one.contrasts["trec"]["lora"]
    baseline = [score(record) for record in found if record.asked.method.label == "full"]
    assert contrast.difference == pytest.approx(mean(own) - mean(baseline))


def test_figures_are_taken_from_result_costs_effective_and_profile() -> None:
    runs = frame(records(), {"minilm-l6": profile()})
    for key in ("trained_parameters", "stored_bytes", "verified_parameters", "train_step_ratio"):
        assert key in BY_KEY
        assert runs[runs["method"] == "lora"][key].notna().all()
    assert runs[runs["method"] == "majority"]["train_flops"].isna().all()


def test_records_without_costs_still_make_tables() -> None:
    (one,) = panels(frame(records(plain=True)))
    assert "train_flops" not in one.figures
    assert [table.key for table in costs(one)] == ["parameters", "time"]
    assert any("Not measured at all: effective parameters, flops, memory and energy" in text for text in sentences(one))
    assert "not measured" in markdown(answers(one))


def test_at_one_seed_nothing_is_claimed() -> None:
    one = panel(seeds=1)
    text = "\n".join(markdown(table) for table in tables(one))
    assert "±" not in text
    assert "**" not in text
    assert not differences(one).rows
    assert one.ranks == {}
    assert leader(one) is None
    assert any("anecdote" in sentence for sentence in sentences(one))
    assert "no claim at one seed" in markdown(answers(one))
    assert "[" not in "".join(cell.text for row in accuracy(one).rows for cell in row)


def test_the_baseline_stores_most_or_is_asked_for() -> None:
    assert panel().baseline == "full"
    runs = frame(records(methods=["lora", "adapter"]))
    assert panels(runs)[0].baseline == "adapter"
    assert panels(runs, baseline="lora")[0].baseline == "lora"
    with pytest.raises(UserError, match="--baseline full: no run is of that method; there is adapter, lora"):
        panels(runs, baseline="full")


def test_failed_runs_are_shown_and_leave_the_mean() -> None:
    one = panel(lost=[("lora", "trec", 1)])
    assert "(n=2, 1 failed)" in cell(main(one), "lora", "trec")
    assert any("lora on trec seed 1: failed: RuntimeError" in note for note in main(one).notes)
    assert one.scores["lora", "trec"].runs == 2
    assert "of which 1 failed" in sentences(one)[0]
    everything = [("lora", task, seed) for task in ("trec", "tweet_valence") for seed in range(3)]
    gone = panel(lost=everything)
    assert cell(main(gone), "lora", "trec") == "3 failed"
    assert ("lora", OVERALL) not in gone.scores


def test_a_mean_that_lacks_a_task_is_absent() -> None:
    one = panel(lost=[("full", "trec", seed) for seed in range(3)])
    assert ("full", OVERALL) not in one.scores
    assert ("full", "tweet_valence") in one.scores
    assert "full" not in one.ranks
    assert one.contrasts[OVERALL]["lora"].p_value is None


def test_other_protocols_models_and_sizes_stand_apart() -> None:
    runs = frame(
        [*records(ks=[100, None]), *records(protocol=Protocol(epochs=3)), *records(models=["tiny"])]
    )
    titles = [one.title for one in panels(runs)]
    assert len(titles) == len(set(titles)) == 4
    assert "minilm-l6, K=all, dev rows as K" in titles


def test_by_k_and_by_model() -> None:
    runs = frame(records(ks=[1000, 100, None], models=["a", "b"], methods=["full", "lora"]))
    by_k = panels(runs, by="k")
    assert [one.columns for one in by_k] == [("100", "1000", "all")] * 4
    assert OVERALL not in by_k[0].places  # a mean over sizes means nothing
    (first, *_rest) = [head.text for head in main(by_k[0]).header][1:]
    assert first == "K=100 (accuracy)"
    assert " to " in cell(main(by_k[0]), "lora", "train s")
    assert panels(runs, by="model")[0].columns == ("a", "b")


def test_one_label_with_other_settings_is_never_averaged() -> None:
    first, second = records(methods=["lora"], tasks=["trec"], seeds=1)[0], records(methods=["lora"], tasks=["trec"])[1]
    method = second.asked.method.model_copy(update={"fields": {"learning_rate": 5e-4, "r": 8}})
    second = second.model_copy(update={"asked": second.asked.model_copy(update={"method": method})})
    assert set(frame([first, second])["method"]) == {"lora (learning_rate=0.001)", "lora (learning_rate=0.0005)"}


def test_estimates_are_marked_and_rank_nothing() -> None:
    energy = next(table for table in costs(panel()) if table.key == "energy")
    assert cell(energy, "lora", "training energy, estimated").startswith("~")
    assert any("No energy was measured" in note for note in energy.notes)
    assert any("no RAPL counter" in note for note in energy.notes)
    assert any("cpu estimated" in note for note in energy.notes)
    joule = next(row for row in answers(panel()).rows if "joule" in row[0].text)
    assert joule[1].text == "not measured"


@given(
    st.lists(
        st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=3, max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_the_sweep_over_columns_agrees_with_one_at_a_time(rows: list[list[float]]) -> None:
    import numpy as np

    array = np.array(rows)
    for at, swept in enumerate(by_column(array[None])[0]):
        single = estimate_of(array[:, at : at + 1])
        if single is None:
            assert swept.runs == 0
            continue
        assert swept.runs == single.runs
        assert swept.mean == pytest.approx(single.mean, abs=1e-9)
        assert (swept.interval is None) == (single.interval is None)
        if swept.interval and single.interval:
            assert swept.interval == pytest.approx(single.interval, rel=1e-6, abs=1e-6)


def test_the_leader_and_who_may_be_as_good() -> None:
    one = panel(seeds=5)
    found = leader(one)
    assert found is not None
    assert found.method == max(one.scores, key=lambda pair: one.scores[pair].mean if pair[1] == OVERALL else -1)[0]
    assert "majority" not in found.close
    assert any(sentence.startswith("More than noise") and "majority" in sentence for sentence in sentences(one))


def test_numbers_are_written_once_with_their_unit() -> None:
    memory, flops = BY_KEY["train_live_bytes"], BY_KEY["train_flops"]
    assert scale_of(memory, [5.1e8]).unit == "MB"
    assert written(memory, 5.1e8, scale_of(memory, [5.1e8])) == "510"
    assert scale_of(flops, [2.5e12]).unit == "TFLOPs"
    assert written(BY_KEY["stored_parameters"], 22565376.0) == "22,565,376"
    assert [significant(value) for value in (0.0, 1234567.0, 0.012345, 99.96)] == ["0", "1,230,000", "0.0123", "100.0"]
    assert [rounded(value) for value in (2310, 30336, 22565376)] == ["2,310", "30.3k", "22.57M"]


def test_markup_in_names_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    found = records(methods=["full", "m[bold]|<b>$x_1%"], tasks=["a&b"])
    (one,) = panels(frame(found))
    assert r"m\[bold\]\|\<b\>$x\_1%" in markdown(main(one))
    assert r"m[bold]$|$$<$b$>$\$x\_1\%" in latex(main(one))
    assert r"a\&b" in latex(main(one))
    show(found)
    assert "m[bold]|<b>$x_1%" in capsys.readouterr().out


def test_the_terminal_fits_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.render.WIDTH", 80)
    show(records())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("unipelt-apl"))
    assert "±" in row
    assert "427.0k" in row


def test_all_formats_are_written(tmp_path: Path) -> None:
    found = records(methods=["full", "lora"], tasks=["trec"], seeds=2)
    paths = write(found, tmp_path, formats=FORMATS, columns=["train_flops", "pscp"])
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
    paths = write_many([one, two], into=tmp_path / "both", formats=["csv"], quiet=True)
    assert {path.parent for path in paths} == {tmp_path / "both"}
    assert {row["method"] for row in csv.DictReader(paths[0].read_text().splitlines())} == {"full", "lora"}
    same = side_by_side({"one": records(methods=["full"]), "two": records(methods=["full"])})
    assert {record.asked.method.label for record in same} == {"full @one", "full @two"}


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (records(seeds=1, revision="2"), "one and two are not comparable: task trec is of data revision trec-1 and trec-2"),
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
        read_profiles(tmp_path)


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


def test_the_command_to_redo_it() -> None:
    found = records(methods=["full", "lora"], seeds=2, ks=[100, None])
    (command,) = commands(found)
    assert command.startswith("bench compare 'full[learning_rate=0.0001]' 'lora[learning_rate=0.001,r=8]'")
    assert "--task trec --task tweet_valence --model minilm-l6 --k 100,all --seeds 2" in command
    noted = [record.model_copy(update={"environment": {"command": "bench compare lora"}}) for record in found]
    assert commands(noted) == ["bench compare lora"]


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("records/*.json")), ids=lambda path: path.name)
def test_old_records_are_reported_on(path: Path, tmp_path: Path) -> None:
    assert (tmp_path / "report.html") in write([read_record(path)], tmp_path, formats=["html", "markdown"])


def test_reports_import_neither_torch_nor_drawing() -> None:
    code = (
        "import sys, reports.outputs, reports.page, reports.tables, reports.figures.draw\n"
        "sys.exit(len({'torch', 'matplotlib', 'jinja2', 'plotly'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_method_of_the_factory_is_there() -> None:
    assert set(panel().methods) == set(METHODS)
