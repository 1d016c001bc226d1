"""Which method to use: the best one, what is shown to be as good, and the cheapest for each need."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.records import profile, records
from reports.columns.numerals import signed
from reports.frame.estimates import Estimate
from reports.frame.frame import frame
from reports.frame.panels import Panel, panels
from reports.stats.best import AgainstBest
from reports.stats.intervals import Interval
from reports.tables.answers import advice
from reports.tables.decision import Decision, Standing, decide
from reports.tables.leader import Leader, leader
from reports.tables.needs import NEEDS, SUSPECT
from reports.tables.summary import _score_words, headline, sure
from reports.tables.table import place_words
from reports.tables.tables import differences


def panel(**settings: object) -> Panel:
    (found,) = panels(frame(records(**settings), {"minilm-l6": profile()}))  # type: ignore[arg-type]
    return found


def decided(one: Panel, margin: float = 0.01) -> Decision:
    found = decide(one, leader(one), margin)
    assert found is not None
    return found


def standing(method: str, gap: float, low: float, *, below: bool = False, beaten: bool = False) -> Standing:
    against = AgainstBest(
        method=method,
        difference=gap,
        interval=Interval(low, 0.0 if beaten else 0.1),
        margin=0.01,
        beaten_by=("best",) if beaten else (),
    )
    return Standing(method=method, score=Estimate(0.8 + gap, 4), gap=gap, against=against, always_below=below)


def test_what_is_shown_to_be_as_good_goes_before_what_is_near_and_cheaper() -> None:
    """And a method that loses every run is never recommended while another has the figure."""
    costs = {"best": 100.0, "near": 10.0, "below": 5.0, "far": 1.0}
    rest = [standing("near", -0.008, -0.06), standing("below", -0.009, -0.06, below=True), standing("far", -0.2, -0.4)]
    for low, method, shown, cheaper in ((-0.05, "near", False, "below"), (0.0, "best", True, "near")):
        ranked = [standing("best", 0.0, low), *rest]
        found = Decision(
            best="best", standings={one.method: one for one in ranked}, margin=0.01, seeds=2, claims=True
        ).choose(costs)
        assert found is not None
        assert (found.method, found.shown, found.cheaper) == (method, shown, cheaper)


def test_a_loser_of_all_pairs_is_not_recommended() -> None:
    """As of unipelt and head at two seeds: no test tells them apart, and head costs nothing."""
    arrays = {
        "unipelt": np.array([[0.80, 0.83], [0.83, 0.82]]),
        "adapter": np.array([[0.80, 0.82], [0.81, 0.83]]),
        "head": np.array([[0.52, 0.62], [0.69, 0.62]]),
    }
    one = panel_of(arrays, rows=500)
    costs = {"head": 1.0, "adapter": 10.0, "unipelt": 20.0}
    found = decided(one).choose(costs)
    assert found is not None
    assert (found.method, found.cheaper) == ("adapter", "head")
    wide = decided(one, margin=0.5).choose(costs)
    assert wide is not None
    assert wide.method == "head", "a reader to whom half a point is nothing may have it"


def test_advice_has_prices_that_readers_know() -> None:
    one = panel(seeds=5)
    found = {each.must: each for each in advice(one, decided(one))}
    assert list(found) == [need.must for need in NEEDS]
    assert found["store many copies"].price == "1.22 MB a copy, 1.22 GB for 1,000 copies"
    assert found["store many copies"].gives_up == "0.008, at most 0.040"
    assert found["train in little memory"].price.endswith(" MB in a training step")
    assert found["answer fast"].price == "43.2 ms a batch of 16 x 24 tokens (1.08 of the bare model's time)"
    assert "joules were not measured" in found["spend little energy"].price, "an estimate recommends nothing"
    assert found["store many copies"].sure == "not shown"


def test_the_headline_says_how_sure_it_is() -> None:
    drawn = np.random.default_rng(0).normal(size=(2, 12, 2)) * 0.002
    equal = panel_of({"a": 0.8 + drawn[0], "b": 0.8 + drawn[1], "c": 0.6 + drawn[0]}, rows=5000)
    use, how = headline(equal, decided(equal))
    assert use.startswith(f"Use {decided(equal).best}: it has the highest mean score over 2 tasks, 0.80")
    assert how.startswith("Fairly sure (95%): no other method is better by more than 0.01, and ")
    few = panel(seeds=2)
    assert headline(few, decided(few))[1].startswith("Not sure: after 2 seeds")
    alone = panel(methods=["lora"])
    assert headline(alone, decided(alone))[1] == "No other method has enough runs to be compared with it."
    assert any(text.startswith("How many seeds it takes") for text in sure(few, leader(few), decided(few)))


def panel_of(arrays: dict[str, np.ndarray], *, headline: str = "accuracy", rows: int = 0, still: str = "") -> Panel:
    """A panel of scores (seeds, tasks) by method, NaN a failed run."""
    runs = [
        {"model": "tiny", "k": "100", "protocol": "", "task": f"task{task}", "seed": f"{seed}/{seed}", "method": method}
        | {"status": "failed" if np.isnan(score) else "ok", "score": score, "headline": headline}
        | {"steps": 0 if method == still else 7}
        | ({"test_examples": rows} if rows else {})
        for method, array in arrays.items()
        for (seed, task), score in np.ndenumerate(array)
    ]
    (one,) = panels(pd.DataFrame(runs))
    return one


def led(arrays: dict[str, np.ndarray]) -> Leader | None:
    return leader(panel_of(arrays))


def test_equal_methods_are_seldom_told_from_the_best() -> None:
    """The best is chosen by the scores that it is then compared by: at most 5% of tables may name a worse one."""
    generator, wrong, draws = np.random.default_rng(0), 0, 250
    for _ in range(draws):
        found = led({name: generator.normal(size=(5, 1)) for name in "abcdef"})
        assert found is not None
        wrong += len(found.close) < 5
    assert wrong / draws <= 0.05


def test_a_method_of_one_lucky_run_is_not_the_best() -> None:
    lucky = np.array([[0.99], [np.nan], [np.nan]])
    found = led({"lucky": lucky, "steady": np.array([[0.5], [0.6], [0.7]])})
    assert found is not None
    assert (found.method, found.untested) == ("steady", ("lucky",))


def test_the_best_is_chosen_by_the_runs_that_all_have() -> None:
    """A failed run spares a method a hard seed: its mean is the higher one, though it loses every run of both."""
    head, lora = np.array([[np.nan], [0.85], [0.86]]), np.array([[0.50], [0.90], [0.91]])
    one = panel_of({"head": head, "lora": lora}, rows=500)
    assert one.comparisons["task0"]["head", "lora"].differs
    found = leader(one)
    assert found is not None
    assert (found.method, found.shared, found.differing) == ("lora", 2, frozenset({"head"}))
    text = " ".join(_score_words(one, leader(one)))
    assert "over the 2 runs that all have. Highest mean score of these on task0: lora, 0.905" in text
    assert "head has a higher mean only over other runs than it" in text
    assert "More than noise: its lead over head" in text
    assert decided(one).best == "lora"


def test_where_no_run_is_common_to_all_none_that_is_beaten_leads() -> None:
    nan = np.nan
    arrays = {
        "a": np.array([[0.50], [0.51], [nan], [nan], [nan], [nan]]),
        "b": np.array([[0.60], [0.61], [0.20], [0.21], [nan], [nan]]),
        "c": np.array([[nan], [nan], [nan], [nan], [0.40], [0.41]]),
    }
    one = panel_of(arrays, rows=500)
    assert one.comparisons["task0"]["a", "b"].differs
    found = leader(one)
    assert found is not None
    assert (found.method, found.shared) == ("c", None), "b has beaten a, and its own mean is lower than c's"
    assert "Best on task0, though no run is common to all: c" not in " ".join(_score_words(one, leader(one))), (
        "c's mean is highest"
    )
    without = leader(panel_of({name: arrays[name] for name in "ab"}, rows=500))
    assert without is not None
    assert (without.method, without.unlike, without.differing) == ("b", ("a",), frozenset({"a"}))


def test_a_suspect_profile_recommends_nothing() -> None:
    for suspect in (None, "the pass over itself came out as 1.2"):
        found = profile().model_copy(update={"suspect": suspect})
        (one,) = panels(frame(records(), {"minilm-l6": found}))
        why = {each.must: each.why for each in advice(one, decided(one))}
        assert {why["answer fast"], why["train in little time"]} == {SUSPECT if suspect else ""}
        assert why["store many copies"] == ""


def test_a_difference_that_rounds_to_zero_has_no_minus() -> None:
    assert [signed(value) for value in (-0.0001, -0.0, 0.0004, -0.0006)] == ["+0.000", "+0.000", "+0.000", "-0.001"]


def test_one_figure_where_both_ends_agree() -> None:
    scores = np.array([[0.80], [0.84]])
    one = panel_of({"a": scores, "b": scores[::-1]}, rows=100)
    words = _score_words(one, leader(one))
    (text,) = [text for text in words if text.startswith("A true difference to")]
    assert " to 0." not in text.removeprefix("A true difference to ")
    assert "by method" not in text


def test_gaps_without_spread_are_held_against_what_rounding_does() -> None:
    scores = np.array([[0.5], [0.6]])
    arrays = {"a": scores, "b": scores - 0.01, "same": scores.copy()}
    unknown = led(arrays)
    assert unknown is not None
    assert (unknown.close, unknown.untested, unknown.tied) == ((), ("b", "same"), ("same",)), "no spread, no claim"
    rounded = leader(panel_of(arrays, rows=100))
    assert rounded is not None
    assert set(rounded.close) == {"same", "b"}
    assert all(interval.high > interval.low for _, interval in rounded.gaps.values())


def test_a_method_that_loses_every_run_is_not_advised() -> None:
    best = np.array([[0.80, 0.70], [0.74, 0.78]])
    arrays = {"best": best, "near": best - [[0.05, -0.01], [0.03, 0.05]], "lower": best - [[0.01, 0.09], [0.08, 0.02]]}
    one = panel_of(arrays, rows=500)
    found = leader(one)
    assert found is not None
    assert (found.method, set(found.close)) == ("best", {"near", "lower"})
    assert found.always_below == {"lower"}
    assert any("Of these, lower scored lower in every single run" in text for text in _score_words(one, leader(one)))


def test_exact_ties_at_the_top_are_all_named() -> None:
    scores = np.array([[0.8], [0.9]])
    one = panel_of({"a": scores, "b": scores[::-1], "c": scores - 0.2}, rows=100)
    assert _score_words(one, leader(one))[0] == "Highest mean score on task0: a and b, exactly tied at 0.850."


def test_a_best_score_no_better_than_a_constant_answer_is_said() -> None:
    scores = np.array([[0.50], [0.51]])
    one = panel_of({"fixed": np.full((2, 1), 0.52), "a": scores, "b": scores - 0.01}, rows=100, still="fixed")
    assert any(
        text == "On task0 no trained method scored higher than fixed, which trains nothing (0.505 against 0.520)."
        for text in _score_words(one, leader(one))
    )
    better = panel_of({"fixed": np.full((2, 1), 0.40), "a": scores}, rows=100, still="fixed")
    assert not any("trains nothing" in text for text in _score_words(better, leader(better)))
    one = panel_of({"a": scores - 0.48, "b": scores - 0.53}, headline="spearman")
    assert any("every method's spearman is within 0.1 of 0" in text for text in _score_words(one, leader(one)))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(2, 4), st.integers(1, 2), st.integers(0, 2**32 - 1), st.booleans())
@example(methods=3, seeds=3, tasks=2, seed=1000001, lost=False)
def test_table_summary_and_answers_say_the_same(methods: int, seeds: int, tasks: int, seed: int, lost: bool) -> None:
    generator = np.random.default_rng(seed)
    centres = generator.choice([0.3, 0.5, 0.52, 0.98], size=methods)
    drawn = centres[:, None, None] + generator.normal(size=(methods, seeds, tasks)) * 0.02
    if lost:  # seeds of their own level, of which some methods lack some
        drawn += generator.normal(size=(seeds, tasks)) * 0.2
        drawn[generator.random(drawn.shape) < 0.15] = np.nan
        drawn[:, :2] = np.where(np.isnan(drawn[:, :2]), 0.5, drawn[:, :2])
    named = {f"m{at}": np.clip(np.round(one * 300) / 300, 0, 1) for at, one in enumerate(drawn)}
    found = leader(panel_of(named, rows=300))
    assert found is not None
    runs = panel_of(named, rows=300).runs
    (one,) = panels(runs, baseline=found.method)
    place = place_words(one.places[0])  # of this the summary speaks: one task alone may tell another story
    starred = [row for row in differences(one).rows if row[2].text.endswith("*") and row[0].value == place]
    assert all(row[2].text.startswith("-") for row in starred), "none is better by more than noise than the best"
    told = {row[1].text for row in starred}
    assert told == set(found.differing)
    said = next((text for text in _score_words(one, leader(one)) if text.startswith("More than noise")), "")
    assert all((method in said) is (method in told) for method in named if method != found.method)
    for place in one.places:
        for method in named:
            interval = one.scores[method, place].interval
            assert interval is not None
            assert 0 <= interval.low < interval.high <= 1


def test_what_was_not_measured_is_said() -> None:
    (one,) = panels(frame(records(plain=True)))
    found = {each.must: each for each in advice(one, decided(one))}
    assert found["train in little memory"].why == "not measured here"
    assert "bench profile" in found["answer fast"].why
