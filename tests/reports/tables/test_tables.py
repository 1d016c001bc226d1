"""From records to tables: what is averaged, what is compared, what is said where something lacks."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.records.spec import Protocol
from bench.records.store import Record
from benchmarks.records import profile, records
from reports.columns.document import BY_KEY
from reports.columns.numerals import rounded, scale_of, significant, written
from reports.formats.text import latex, latex_document, markdown
from reports.frame.estimates import by_column, estimate_of
from reports.frame.frame import frame
from reports.frame.panels import OVERALL, Panel, panels
from reports.report import Report
from reports.tables.decision import decide
from reports.tables.leader import leader
from reports.tables.savings import savings
from reports.tables.settings import settings_table
from reports.tables.summary import headline, missing, sure
from reports.tables.table import Table
from reports.tables.tables import accuracy, costs, differences, main, tables


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
    assert any("Not measured at all: effective parameters, flops, memory and energy" in text for text in missing(one))


def test_at_one_seed_nothing_is_claimed() -> None:
    one = panel(seeds=1)
    text = "\n".join(markdown(table) for table in tables(one))
    assert "±" not in text
    assert "**" not in text
    assert not differences(one).rows
    assert one.ranks == {}
    assert leader(one) is None
    assert any("anecdote" in sentence for sentence in sure(one, None, None))
    decision = decide(one, None, 0.01)
    assert decision is not None
    assert not decision.as_good
    assert headline(one, decision)[0].startswith("By a single seed")
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
    assert any("lora on trec seed 1: failed: RuntimeError" in note for note in main(one).details)
    assert one.scores["lora", "trec"].runs == 2
    assert "of which 1 failed" in sure(one, leader(one), None)[0]
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
    runs = frame([*records(ks=[100, None]), *records(protocol=Protocol(epochs=3)), *records(models=["tiny"])])
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
    assert any("no RAPL counter" in note for note in energy.details)
    assert any("cpu estimated" in note for note in energy.notes)


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
    assert any(
        sentence.startswith("More than noise") and "majority" in sentence for sentence in sure(one, leader(one), None)
    )


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
    Report(records=found).show()
    assert "m[bold]|<b>$x_1%" in capsys.readouterr().out


def test_names_of_settings_are_of_the_protocols_own_words() -> None:
    protocol = Protocol(dev="k", epochs=3)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in settings_table(panel(), protocol).rows}
    assert rows["Passes over the training rows"] == ["3", "--epochs"]
    assert rows["Norm that the gradient is clipped to"][0] == "none: it is never clipped"
    assert rows["Rows that choose the checkpoint, taken from the training data besides the K"][0] == "k: as many as K"
    assert rows["Pretrained model"] == ["minilm-l6", "--model"]
    titles = [table.title for table in tables(panel())]
    assert all(title.endswith("minilm-l6, 100 training rows") for title in titles), titles


def test_what_few_parameters_save_is_explained_where_it_is_little() -> None:
    one = panel()
    found = savings(one)
    assert found is not None
    text = " ".join(found.sentences)
    assert found.title == "Why does it save so little time here?"
    assert "the forward pass alone is 33% of the FLOPs of a training step of full" in text
    assert "unipelt-apl still computes 74% of them" in text
    row = {cells[0].text: [cell.text for cell in cells[1:]] for cells in found.table.rows}
    assert row["lora"][:3] == ["0.327", "42", "69"]
    assert savings(panel(methods=["head", "full"])) is None, "head alone saves what is to be saved"


def test_no_interval_leaves_what_is_possible() -> None:
    time = next(table for table in costs(panel(seeds=2)) if table.key == "time")
    ends = [float(end) for row in time.rows for cell in row for end in re.findall(r"\[(-?[\d.]+),", cell.text)]
    assert ends
    assert min(ends) >= 0


def test_wide_tables_are_split_and_notes_are_few(tmp_path: Path) -> None:
    report = Report(records=records(tasks=[f"task{n}" for n in range(12)], seeds=2))
    text = latex_document(report.sections, [], report.defined)
    for layout in re.findall(r"\\begin{tabular}{@{}([lr]+)@{}}", text):
        assert 2 <= len(layout) <= 8
    for notes in re.findall(r"smallskip\\raggedright (.*)", text):
        assert len(notes) < 330
    assert text.count(r"\paragraph{training memory.}") == 1, "a figure is defined once"
    assert r"\label{tab:scores-part-2}" in text
    engine = shutil.which("pdflatex")
    if engine is None:
        pytest.skip("no pdflatex here")
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{array,booktabs}\begin{document}"
    (tmp_path / "whole.tex").write_text(head + text + r"\end{document}")
    done = subprocess.run(
        [engine, "-interaction=nonstopmode", "-halt-on-error", "whole.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-800:]
    wide = [float(points) for points in re.findall(r"Overfull .hbox \(([\d.]+)pt too wide\)", done.stdout)]
    assert all(points < 15 for points in wide), wide


def test_the_terminal_ends_with_the_table_and_ten_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.formats.text.WIDTH", 80)
    Report(records=records(lost=[("lora", "trec", 1)])).show()
    lines = capsys.readouterr().out.splitlines()
    last = max(at for at, line in enumerate(lines) if line.startswith("full "))
    assert len(lines) - 1 - last <= 9, "and one that says what was written"
    assert any(line.startswith("Use ") for line in lines[last + 1 :])
    assert "Of 48 runs 1 failed; the report gives the reasons." in lines


def test_the_terminal_fits_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.formats.text.WIDTH", 80)
    Report(records=records()).show()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("unipelt-apl"))
    assert "±" in row
    assert "427.0k" in row
