"""Figures of searches show the trials, the choice and the bands, and no text covers another."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.tuned_records import tuned_records
from reports.figures.drawing import Drawing, drawn
from reports.figures.registry import drawings
from reports.figures.sources import Tuning
from reports.figures.style import looks, themed, width_of
from reports.frame.frame import frame
from reports.frame.panels import panels
from reports.frame.searches import searches_of
from reports.tables.tuning import good_range_of
from tests.reports.figures.test_draw import covered


def source(**settings: object) -> Tuning:
    made = tuned_records(**settings)  # type: ignore[arg-type]
    (panel,) = panels(frame(made))
    return Tuning(panel, tuple(searches_of(panel, made)), looks(panel.methods))


@pytest.fixture(scope="module")
def shared() -> Tuning:
    return source(searches=1)


def figures(of: Tuning, width: str = "column") -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in drawings("tuning", of, width_of(width))}


def lines(figure: Figure, method: str, gid: str) -> list[tuple[float, float]]:
    (ax,) = [ax for ax in figure.axes if ax.get_title() == method]
    (line,) = [line for line in ax.lines if line.get_gid() == gid]
    return list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))


def test_every_trial_is_shown_and_the_choice_is_the_best_of_them(shared: Tuning) -> None:
    with themed():
        figure = drawn(figures(shared)["tuning-rates-trec"])
    assert "majority" not in [ax.get_title() for ax in figure.axes]  # has nothing to search
    for each in (each for each in shared.searches if each.place == "trec" and each.trials):
        shown = {kind: lines(figure, each.method, kind) for kind in ("trials", "beyond", "failed")}
        assert sum(map(len, shown.values())) == len(each.trials)
        ((rate, score),) = lines(figure, each.method, "chosen")
        assert (rate, score) == max([*shown["trials"], *shown["beyond"]], key=lambda pair: (pair[1], -pair[0]))
        floor = shared.panel.scores["majority", "trec"].mean
        assert all(height == pytest.approx(floor) for _, height in shown["failed"])
    assert any(lines(figure, each.method, "failed") for each in shared.searches if each.trials)
    widths = {
        each.method: good.width
        for each in shared.searches
        if each.place == "trec" and (good := good_range_of(shared.panel, each, 0.01)) is not None
    }
    widest = max(widths, key=lambda name: widths[name])
    assert f"{widths[widest]:.2f} powers of ten wide for {widest}" in figures(shared)["tuning-rates-trec"].caption


def test_curves_rest_on_the_draws_of_the_search_alone_and_bands_open_upwards(shared: Tuning) -> None:
    drawing = figures(shared)["tuning-curve-trec"]
    with themed():
        figure = drawn(drawing)
    for each in (each for each in shared.searches if each.place == "trec" and each.trials):
        curve = lines(figure, each.method, "centre")
        assert [x for x, _ in curve] == list(range(1, 13))  # draws beyond an end are no independent ones
        scores = [score for _, score in curve]
        assert scores == sorted(scores)
        assert scores[-1] == max(trial.score or 0.0 for trial in each.originals)
    assert any(len(each.trials) > len(each.originals) for each in shared.searches)
    assert "bands are open above" in drawing.caption
    assert "from 3 trials on" in drawing.caption


def test_over_cost_a_curve_ends_at_the_cost_of_its_trials(shared: Tuning) -> None:
    with themed():
        figure = drawn(figures(shared)["tuning-curve-flops-trec"])
    ends = {
        each.method: lines(figure, each.method, "centre")[-1][0]
        for each in shared.searches
        if each.trials and each.place == "trec"
    }
    assert ends["head"] / ends["full"] == pytest.approx(0.33)  # as the made-up FLOPs have it


def test_the_forest_is_about_settings_where_seeds_share_a_search(shared: Tuning) -> None:
    drawing = figures(shared)["tuning-forest"]
    assert "at the settings chosen here" in drawing.caption
    assert "at the settings" not in figures(source(searches=5, tasks=["trec"]))["tuning-forest"].caption
    with themed():
        ax = drawn(drawing).axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    rows = shared.panel.against_best(shared.panel.places[0], 0.01)
    marks = {names[int(line.get_ydata()[0])]: line for line in ax.lines if line.get_gid() == "marks"}
    assert set(marks) == set(shared.panel.methods) - {"majority"}
    assert {name: float(line.get_xdata()[0]) for name, line in marks.items()} == {
        name: rows[name].difference for name in marks
    }
    whiskers = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_gid() is None]
    assert any(np.allclose(ends, rows["lora"].interval) for ends in whiskers)


@pytest.mark.parametrize("width", ["column", "page"])
def test_no_text_covers_another_and_every_caption_is_a_sentence(shared: Tuning, width: str) -> None:
    made = figures(shared, width)
    assert len(made) == 7
    with themed():
        for drawing in made.values():
            assert covered(drawn(drawing)) == [], drawing.name
            assert drawing.caption.endswith(".")
            assert ". " not in drawing.caption
            assert any(method in drawing.caption for method in shared.panel.methods)


def test_nothing_is_drawn_where_nothing_was_searched() -> None:
    assert figures(source(methods=["majority"], tasks=["trec"])) == {}
