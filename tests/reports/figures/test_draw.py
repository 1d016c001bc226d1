"""Figures show the numbers that the tables have, in looks that stay the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.records import METHODS, profile, records
from reports.figures.bars import KEPT, SPENT, comparable_keys, memory_bars, parallel_costs, rank_plot
from reports.figures.curves import score_by_k, training_curves
from reports.figures.draw import FRONTS, draw, draw_all, drawings
from reports.figures.pareto import pareto
from reports.figures.style import figure, looks
from reports.frame.frame import curves, frame
from reports.frame.fronts import front_keys, front_members
from reports.frame.panels import OVERALL, Panel, panels

RECORDS = records()


@pytest.fixture(scope="module")
def panel() -> Panel:
    (found,) = panels(frame(RECORDS, {"minilm-l6": profile()}))
    return found


def test_a_front_shows_means_intervals_and_members(panel: Panel) -> None:
    _, ax = figure()
    assert pareto(panel, "stored_bytes", ax) is ax
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "stored (MB)"
    drawn = {bar.get_label(): bar for bar in ax.containers}
    assert set(drawn) == set(METHODS)
    (point,) = drawn["lora"].lines[0].get_xydata()
    assert point[0] == pytest.approx(panel.costs["lora", OVERALL]["stored_bytes"].mean / 1e6)
    assert point[1] == pytest.approx(panel.scores["lora", OVERALL].mean)
    ends = drawn["lora"].lines[2][-1].get_segments()[0]
    interval = panel.scores["lora", OVERALL].interval
    assert interval is not None
    assert (ends[0][1], ends[1][1]) == pytest.approx(interval)
    filled = {name for name, bar in drawn.items() if bar.lines[0].get_markerfacecolor() != "white"}
    assert filled == set(front_members(panel, "stored_bytes", OVERALL))
    assert "full" not in filled


def test_no_front_over_estimates(panel: Panel) -> None:
    assert "train_energy_estimated_joules" in panel.figures
    assert "train_energy_estimated_joules" not in front_keys(panel)
    assert not any("estimated" in key for key in (*FRONTS, *KEPT, *SPENT))
    with pytest.raises(ValueError, match="is estimated"):
        front_members(panel, "train_energy_estimated_joules", OVERALL)
    assert comparable_keys(panel, ["train_energy_estimated_joules"], "full") == []


def test_one_seed_has_no_whiskers() -> None:
    (one,) = panels(frame(records(seeds=1)))
    _, ax = figure()
    pareto(one, "stored_bytes", ax)
    assert not any(bar.has_xerr or bar.has_yerr for bar in ax.containers)


def test_memory_bars_add_up(panel: Panel) -> None:
    _, ax = figure()
    memory_bars(panel, ax)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert "majority" not in names  # trains nothing
    row = names.index("full")
    assert len(ax.containers) == 4
    total = sum(bars[row].get_width() for bars in ax.containers)
    assert total == pytest.approx(panel.costs["full", OVERALL]["train_live_bytes"].mean / 1e6, rel=1e-6)


def test_parallel_costs_are_ratios(panel: Panel) -> None:
    _, ax = figure()
    parallel_costs(panel, ax, keys=["train_flops_per_example", "train_step_ratio"])
    line = next(line for line in ax.lines if line.get_label() == "adapter")
    assert line.get_xdata() == pytest.approx([0.61, panel.costs["adapter", OVERALL]["train_step_ratio"].mean])
    line = next(line for line in ax.lines if line.get_label() == "full")
    assert list(line.get_xdata()) == [1.0, 1.0]


def test_ranks_best_on_top(panel: Panel) -> None:
    _, ax = figure()
    rank_plot(panel, ax)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[-1] == min(panel.ranks, key=lambda method: panel.ranks[method])


def test_score_by_k_in_the_order_of_k() -> None:
    (one,) = panels(frame(records(tasks=["trec"], ks=[1000, None, 100])), by="k")
    _, ax = figure()
    score_by_k(one, ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "1000", "all"]
    with pytest.raises(ValueError, match="by k"):
        score_by_k(panels(frame(RECORDS))[0], ax)


def test_training_curves_show_the_mean_over_seeds(panel: Panel) -> None:
    _, ax = figure()
    training_curves(curves(RECORDS), panel, "trec", ax)
    line = next(line for line in ax.lines if line.get_label() == "lora")
    own = [r for r in RECORDS if (r.asked.method.label, r.asked.task.label) == ("lora", "trec")]
    last = [r.result.curve[-1].scores["accuracy"] for r in own if r.result]
    assert line.get_ydata()[-1] == pytest.approx(sum(last) / len(last))
    assert "majority" not in [line.get_label() for line in ax.lines]


@given(st.sets(st.sampled_from([*METHODS, "lora[r=4]", "lora[r=16]", "mine", "yours"]), min_size=1))
def test_known_methods_keep_their_look(names: set[str]) -> None:
    found = looks(sorted(names))
    assert all(found[name].colour == looks([name])[name].colour for name in names & set(METHODS))
    pairs = [(look.colour, look.marker) for look in found.values()]
    assert len(set(pairs)) == len(pairs)


def test_greys_of_neighbours_differ_by_marker() -> None:
    markers = [look.marker for look in looks(METHODS).values()]
    assert len(set(markers)) == len(METHODS)


def test_all_drawings_in_every_format(tmp_path: Path, panel: Panel) -> None:
    found = list(drawings(panel, curves(RECORDS)))
    names = {drawing.name for drawing in found}
    assert {"pareto-stored-bytes", "memory", "parallel-kept", "parallel-spent", "ranks", "curves-trec"} <= names
    paths = draw(found[0], tmp_path, ["svg", "pdf", "png"])
    assert [path.suffix for path in paths] == [".svg", ".pdf", ".png"]
    assert b"unipelt-apl" in paths[0].read_bytes()  # text stays text
    again = draw(found[0], tmp_path / "again", ["svg"])
    assert again[0].read_bytes() == paths[0].read_bytes()


def test_markup_and_formulas_in_names_are_drawn_as_text(tmp_path: Path) -> None:
    found = records(methods=["full", r"a$\frac$<script>_b"], tasks=["x^$<"], seeds=2)
    runs = frame(found)
    for path, *_ in draw_all(found, panels(runs), runs, tmp_path, ["svg"]):
        assert b"<script>" not in path.read_bytes()
