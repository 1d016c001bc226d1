"""Figures show the numbers that the tables have, in looks that stay the same, and no text covers another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bench.errors import UserError
from benchmarks.records import METHODS, profile, records
from reports.figures.comparison.costs import KEPT, SPENT, cost_grid, measured
from reports.figures.comparison.curves import training_curves
from reports.figures.comparison.memory import memory_bars
from reports.figures.comparison.pareto import COSTS, pareto
from reports.figures.comparison.ranks import rank_plot
from reports.figures.draw import draw_all
from reports.figures.drawing import Drawing, drawn, write
from reports.figures.registry import drawings, modules
from reports.figures.sizes.score_by_k import score_by_k
from reports.figures.sources import Setting
from reports.figures.style import COLUMN_INCHES, looks, paper_of, themed, width_of
from reports.frame.frame import curves, frame
from reports.frame.fronts import front_keys, front_members
from reports.frame.panels import OVERALL, panels

RECORDS = records()
LONG = (
    "lora[r=16,alpha=32]",
    "my-own-method-with-a-long-name",
    "ia3",
    "houlsby",
    "compacter[r=4]",
    "unipelt-apl[gate=none]",
)


def setting_of(methods: Sequence[str] = METHODS, **settings: Any) -> Setting:
    found = RECORDS if methods is METHODS and not settings else records(methods=methods, **settings)
    by = "k" if "ks" in settings else "task"
    (panel,) = panels(frame(found, {"minilm-l6": profile(methods=methods)}), by=by)
    return Setting(panel, curves(found), looks(panel.methods))


@pytest.fixture(scope="module")
def setting() -> Setting:
    return setting_of()


@pytest.fixture
def ax() -> Iterator[Axes]:
    with themed():
        figure = Figure(figsize=(COLUMN_INCHES, 2.6), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure.add_subplot()


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_a_front_shows_means_intervals_and_members(setting: Setting, ax: Axes) -> None:
    panel = setting.panel
    assert pareto(setting, "stored_bytes", ax) is ax
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "stored (MB)"
    assert set(texts(ax)) == set(METHODS)
    (marks,) = [item for item in ax.collections if item.get_gid() == "marks"]
    at = [method for method in panel.methods if (method, OVERALL) in panel.costs].index("lora")
    x, y = marks.get_offsets()[at]
    assert x == pytest.approx(panel.costs["lora", OVERALL]["stored_bytes"].mean / 1e6)
    assert y == pytest.approx(panel.scores["lora", OVERALL].mean)
    interval = panel.scores["lora", OVERALL].interval
    assert interval is not None
    ends = ax.containers[0].lines[2][-1].get_segments()[at]
    assert (ends[0][1], ends[1][1]) == pytest.approx(interval)
    filled = {
        m for m, colour in zip(panel.methods, marks.get_facecolors(), strict=True) if tuple(colour) != (1, 1, 1, 1)
    }
    assert filled == set(front_members(panel, "stored_bytes", OVERALL))
    assert "full" not in filled


def test_no_figure_over_estimates(setting: Setting) -> None:
    assert "train_energy_estimated_joules" in setting.panel.figures
    assert "train_energy_estimated_joules" not in front_keys(setting.panel)
    assert not any("estimated" in key for key in (*COSTS, *KEPT, *SPENT))
    with pytest.raises(ValueError, match="is estimated"):
        front_members(setting.panel, "train_energy_estimated_joules", OVERALL)
    assert measured(setting, ["train_energy_estimated_joules"]) == []


def test_one_seed_has_no_whiskers_and_says_so(ax: Axes) -> None:
    one = setting_of(seeds=1)
    pareto(one, "stored_bytes", ax)
    assert not any(len(path) for bars in ax.containers[0].lines[2] for path in bars.get_segments() if path.size > 99)
    first = next(drawings("comparison", one, COLUMN_INCHES))
    assert "one seed, so no intervals" in first.caption


def test_memory_bars_add_up(setting: Setting, ax: Axes) -> None:
    memory_bars(setting, ax)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert "majority" not in names  # trains nothing
    row = names.index("full")
    assert len(ax.containers) == 4
    total = sum(bars[row].get_width() for bars in ax.containers)
    assert total == pytest.approx(setting.panel.costs["full", OVERALL]["train_live_bytes"].mean / 1e6, rel=1e-6)
    legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    keyed = dict(zip(legend, ax.figure.legends[0].get_patches(), strict=True))
    weights = setting.panel.costs["full", OVERALL]["train_weights_bytes"].mean / 1e6
    (bar,) = [bars[row] for bars in ax.containers if bars[row].get_x() == 0]
    assert bar.get_width() == pytest.approx(weights)
    assert bar.get_facecolor() == keyed["weights"].get_facecolor()


def test_costs_stand_by_score_each_on_its_own_axis(setting: Setting) -> None:
    grid = cost_grid(setting, ["train_flops_per_example", "train_step_ratio", "trained_parameters"], COLUMN_INCHES)
    scores = [setting.panel.scores[name, OVERALL].mean for name in grid.names]
    assert scores == sorted(scores, reverse=True)
    with themed():
        figure = drawn(Drawing("x", "x", grid.draw, COLUMN_INCHES, grid.height))
    assert [ax.get_title().replace("\n", " ") for ax in figure.axes][1] == "training FLOPs (G)"
    score, flops, _, trained = figure.axes
    assert not any(line.get_linestyle() == "-" and len(line.get_xdata()) > 2 for ax in figure.axes for line in ax.lines)
    assert not flops.get_shared_x_axes().joined(score, flops)
    row = grid.names.index("adapter")
    at = dict(zip(flops.collections[0].get_offsets()[:, 1], flops.collections[0].get_offsets()[:, 0], strict=True))
    assert at[row] == pytest.approx(setting.panel.costs["adapter", OVERALL]["train_flops_per_example"].mean / 1e9)
    assert texts(flops) == ["\N{EN DASH}"]  # majority trains nothing: not measured
    assert texts(trained) == ["0", "0"]  # a zero is no point of a logarithmic axis


def test_ranks_best_on_top(setting: Setting, ax: Axes) -> None:
    rank_plot(setting, ax)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[0] == min(setting.panel.ranks, key=lambda method: setting.panel.ranks[method])
    assert ax.yaxis_inverted()


def test_score_by_k_in_the_order_of_k(setting: Setting, ax: Axes) -> None:
    score_by_k(setting_of(tasks=["trec"], ks=[1000, None, 100]), ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "1000", "all"]
    with pytest.raises(ValueError, match="by k"):
        score_by_k(setting, ax)


def test_training_curves_show_the_mean_over_seeds(setting: Setting, ax: Axes) -> None:
    training_curves(setting, "trec", ax)
    line = next(line for line in ax.lines if line.get_label() == "lora")
    own = [r for r in RECORDS if (r.asked.method.label, r.asked.task.label) == ("lora", "trec")]
    last = [r.result.curve[-1].scores["accuracy"] for r in own if r.result]
    assert line.get_ydata()[-1] == pytest.approx(sum(last) / len(last))
    assert "majority" not in [line.get_label() for line in ax.lines]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sets(st.sampled_from([*METHODS, *LONG, "lora[r=4]", "lora[r=16]", "mine", "yours", "his", "hers"]), min_size=1)
)
def test_known_methods_keep_their_look_and_no_two_look_alike(names: set[str]) -> None:
    found = looks(sorted(names))
    assert all(found[name].colour == looks([name])[name].colour for name in names & set(METHODS))
    pairs = [(look.colour, look.marker) for look in found.values()]
    assert len(set(pairs)) == len(pairs)


def test_greys_of_neighbours_differ_by_marker() -> None:
    markers = [look.marker for look in looks(METHODS).values()]
    assert len(set(markers)) == len(METHODS)


def boxes(figure: Figure) -> tuple[list[tuple[str, Bbox]], list[Bbox]]:
    """All texts that are seen, and all marks, as the renderer places them."""
    figure.draw_without_rendering()
    words: list[tuple[str, Bbox]] = []
    marks: list[Bbox] = []
    for ax in figure.axes:
        shown = [*ax.texts, ax.xaxis.label, ax.yaxis.label, ax.title]
        for axis in (ax.xaxis, ax.yaxis) if ax.get_subplotspec().is_first_col() else (ax.xaxis,):
            low, high = sorted(axis.get_view_interval())
            shown += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        words += [
            (text.get_text(), Text.get_window_extent(text))
            for text in shown
            if text.get_visible() and text.get_text().strip()
        ]
        for item in ax.collections:
            if item.get_gid() == "marks":
                places = ax.transData.transform(item.get_offsets())
                marks += [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in places]
    for legend in figure.legends:
        words += [(text.get_text(), text.get_window_extent()) for text in legend.get_texts()]
    return words, marks


def covered(figure: Figure) -> list[str]:
    """What overlaps, and what the edge cuts."""
    words, marks = boxes(figure)
    shrunk = [(text, Bbox.from_extents(b.x0 + 1, b.y0 + 2, b.x1 - 1, b.y1 - 2)) for text, b in words]
    faults = [f"{a} over {b}" for (a, one), (b, other) in combinations(shrunk, 2) if one.overlaps(other)]
    faults += [f"{a} over a mark" for a, box in shrunk if any(box.overlaps(mark) for mark in marks)]
    edge = figure.bbox
    faults += [f"{a} is cut" for a, b in shrunk if b.x0 < 0 or b.y0 < 0 or b.x1 > edge.x1 or b.y1 > edge.y1]
    return faults


@pytest.mark.parametrize(("count", "width"), [(3, "column"), (8, "column"), (14, "column"), (14, "page")])
def test_no_text_covers_another_or_a_mark_or_is_cut(count: int, width: str) -> None:
    names = ["head", "full", "lora"] if count == 3 else [*METHODS, *LONG][:count]
    figures = list(drawings("comparison", setting_of(names), width_of(width)))
    figures += drawings("sizes", setting_of(names, tasks=["trec"], ks=[50, 100, 500]), width_of(width))
    alike = ("pareto-infer-ratio", "pareto-train-step-ratio", "pareto-train-live-bytes", "curves-tweet_valence")
    figures = [figure for figure in figures if figure.name not in alike]
    assert len(figures) > 5
    with themed():
        for drawing in figures:
            assert covered(drawn(drawing)) == [], drawing.name


def test_the_check_of_overlaps_sees_one(ax: Axes) -> None:
    ax.text(0.5, 0.5, "one")
    ax.text(0.52, 0.5, "other")
    assert covered(ax.figure) == ["one over other"]


def test_every_figure_says_how_to_read_it(setting: Setting) -> None:
    found = list(drawings("comparison", setting, COLUMN_INCHES))
    names = {drawing.name for drawing in found}
    assert {"pareto-stored-bytes", "memory", "costs-kept", "costs-spent", "ranks", "curves-trec"} <= names
    for drawing in found:
        assert drawing.caption.endswith(".")
        assert ". " not in drawing.caption.replace("0. ", "")
        assert any(method in drawing.caption for method in METHODS), drawing.caption  # it says what is seen here


def test_a_figure_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: Setting) -> None:
    import reports.figures.comparison as package

    (tmp_path / "mine.py").write_text(
        "from reports.figures.drawing import Drawing\nORDER = 1\n"
        "def drawings(setting, width):\n    yield Drawing('mine', 'Mine.', print, width, 1)\n"
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    modules.cache_clear()
    try:
        assert next(drawings("comparison", setting, 3.3)).name == "mine"
        (tmp_path / "mine.py").write_text("")
        (tmp_path / "yours.py").write_text("")
        modules.cache_clear()
        with pytest.raises(TypeError, match=r"yours.py: a figure needs a function `drawings"):
            modules("comparison")
    finally:
        modules.cache_clear()


def test_files_are_the_same_each_time_and_text_stays_text(tmp_path: Path, setting: Setting) -> None:
    first = next(drawings("comparison", setting, COLUMN_INCHES))
    ((_, paths),) = write([first], tmp_path, ["svg", "pdf", "png"])
    assert [path.suffix for path in paths] == [".svg", ".pdf", ".png"]
    assert b"unipelt-apl" in paths[0].read_bytes()
    assert b"/FontFile2" in paths[1].read_bytes()  # the font is in the file
    assert b"/Type3" not in paths[1].read_bytes()
    _, again = write([first, first], tmp_path / "again", ["svg"])
    assert again.paths[0].name == "pareto-stored-bytes-2.svg"
    assert again.paths[0].read_bytes() == paths[0].read_bytes()


def test_a_width_is_a_name_or_inches() -> None:
    assert width_of("page") == 6.9
    for text in ("wide", "0.1", "nan", "inf", "-3"):
        with pytest.raises(UserError, match=f"--figure-width {text}: column"):
            width_of(text)


def test_a_theme_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="--figure-theme dark: light or print"):
        paper_of("column", "dark")


def test_markup_and_formulas_in_names_are_drawn_as_text(tmp_path: Path) -> None:
    found = records(methods=["full", r"a$\frac$<script>_b"], tasks=["x^$<"], seeds=2)
    runs = frame(found)
    for path, *_ in draw_all(found, panels(runs), runs, tmp_path, ["svg"], paper=paper_of("page", "print")):
        assert b"<script>" not in path.read_bytes()
