"""From records to tables: what is averaged, what is compared, what is said where something lacks."""

from __future__ import annotations

import math
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
from reports.formats.text import latex, markdown
from reports.frame.estimates import by_column, estimate_of
from reports.frame.frame import frame
from reports.frame.panels import OVERALL, Panel, panels
from reports.report import Report
from reports.tables.answers import answers
from reports.tables.summary import leader, sentences
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
    assert any(
        "Not measured at all: effective parameters, flops, memory and energy" in text
        for text in sentences(one, leader(one))
    )
    assert "not measured" in markdown(answers(one, leader(one)))


def test_at_one_seed_nothing_is_claimed() -> None:
    one = panel(seeds=1)
    text = "\n".join(markdown(table) for table in tables(one))
    assert "±" not in text
    assert "**" not in text
    assert not differences(one).rows
    assert one.ranks == {}
    assert leader(one) is None
    assert any("anecdote" in sentence for sentence in sentences(one, leader(one)))
    assert "no claim at one seed" in markdown(answers(one, leader(one)))
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
    assert "of which 1 failed" in sentences(one, leader(one))[0]
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
    assert any("no RAPL counter" in note for note in energy.notes)
    assert any("cpu estimated" in note for note in energy.notes)
    joule = next(row for row in answers(panel(), leader(panel())).rows if "joule" in row[0].text)
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
    assert any(
        sentence.startswith("More than noise") and "majority" in sentence for sentence in sentences(one, leader(one))
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


def test_the_terminal_fits_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.formats.text.WIDTH", 80)
    Report(records=records()).show()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("unipelt-apl"))
    assert "±" in row
    assert "427.0k" in row
