"""Which trials led to a run, and what of their cost is charged to it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.records.record import Record
from benchmarks.tuned_records import tuned_records
from reports.frame.frame import frame
from reports.frame.panels import panels
from reports.frame.searches import Searched, floor_of, searches_of

ONE = tuned_records(methods=["majority", "full", "lora", "unipelt-apl"], tasks=["trec"], searches=1, seeds=5)


def searched(records: Sequence[Record]) -> dict[str, Searched]:
    (panel,) = panels(frame(records))
    return {each.method: each for each in searches_of(panel, records)}


def trials_of(records: Sequence[Record], method: str) -> list[Record]:
    return [r for r in records if r.asked.is_trial and r.asked.method.label == method]


def test_seeds_that_share_a_search_divide_its_cost() -> None:
    runs = frame(ONE).set_index("method")
    trials = trials_of(ONE, "unipelt-apl")
    finished = [r.result for r in trials if r.result is not None]
    seconds = [result.train_time_s or 0.0 for result in finished]
    charged = runs.loc["unipelt-apl"]
    assert set(charged["tuning_trials"]) == {len(trials)}
    # A trial that failed counts as the mean of the others.
    assert charged["tuning_train_time_s"].sum() == pytest.approx(sum(seconds) / len(seconds) * len(trials))
    assert len(seconds) < len(trials)
    each = finished[0].costs.figures["train_flops"]  # type: ignore[union-attr]
    assert charged["tuning_train_flops"].sum() == pytest.approx(each * len(trials))
    assert set(runs.loc["full"]["tuned_train_flops_ratio"]) == {1.0}
    assert set(runs.loc["majority"]["tuning_trials"]) == {0}
    assert set(runs.loc["majority"]["tuned_train_flops_ratio"]) == {0.0}


def test_flops_counted_at_one_trial_serve_the_others() -> None:
    counted = {r.digest for r in trials_of(ONE, "lora")[:1]}

    def without(record: Record) -> Record:
        if record.result is None or record.result.costs is None or record.digest in counted:
            return record
        figures = {k: v for k, v in record.result.costs.figures.items() if "flops" not in k}
        costs = record.result.costs.model_copy(update={"figures": figures})
        return record.model_copy(update={"result": record.result.model_copy(update={"costs": costs})})

    lora = searched([without(record) for record in ONE])["lora"]
    (first,) = [r.result for r in trials_of(ONE, "lora")[:1]]
    assert first is not None
    assert first.costs is not None
    each = first.costs.figures["train_flops_per_example"] * 100 * 10  # 70 steps of batches of 16 are 10 passes over 100
    known = [trial.costs["train_flops"] for trial in lora.trials if trial.score is not None]
    assert known[1:] == pytest.approx([each] * (len(known) - 1))


@pytest.mark.parametrize(
    ("dropped", "reason"),
    [("costs", "FLOPs were not counted for its trials"), ("trials", "its trials are not in this folder")],
)
def test_what_was_not_measured_is_absent_with_its_reason(dropped: str, reason: str) -> None:
    kept = [record for record in ONE if dropped != "trials" or not record.asked.is_trial]
    if dropped == "costs":
        kept = [r.model_copy(update={"result": r.result and r.result.model_copy(update={"costs": None})}) for r in kept]
    (row,) = frame(kept).query("method == 'lora'").head(1).to_dict("records")
    assert not row.get("tuning_train_flops", float("nan")) > 0
    assert row["absent"]["tuning_train_flops"] == reason
    assert "tuned_train_flops_ratio" in row["absent"]


def test_a_search_that_was_prolonged_leaves_out_what_lay_beyond_the_edge_of_the_shorter_one() -> None:
    short = tuned_records(methods=["prefix"], tasks=["trec"], trials=4, searches=1, seeds=2)
    beyond = [r for r in trials_of(short, "prefix") if r.asked.search and (r.asked.search.draw or 0) >= 4]
    assert beyond
    # As the folder holds it: the first draws were made for the shorter search, and are not repeated.
    older = {record.digest for record in short}
    longer_made = tuned_records(methods=["prefix"], tasks=["trec"], searches=1, seeds=2)
    both = [*short, *(record for record in longer_made if record.digest not in older)]
    found = {panel.title: searches_of(panel, both)[0] for panel in panels(frame(both))}
    longer, shorter = (found[title] for title in sorted(found))  # best of 12 trials, best of 4 trials
    assert (longer.draws, shorter.draws) == (12, 4)
    assert len(longer.originals) == 12
    assert len(shorter.originals) == 4
    assert len(shorter.trials) == 4 + len(beyond)
    assert longer.trials[:4] == shorter.trials[:4]


def test_a_failed_trial_has_the_score_of_what_trains_nothing() -> None:
    (panel,) = panels(frame(ONE))
    assert floor_of(panel, "trec") == (
        panel.scores["majority", "trec"].mean,
        f"the score of majority, which trains nothing ({panel.scores['majority', 'trec'].mean:.3f}, of the test rows)",
    )
    alone = [record for record in ONE if record.asked.method.label != "majority"]
    (panel,) = panels(frame(alone))
    assert floor_of(panel, "trec")[0] == 0.0
    assert "the least score there can be (0)" in floor_of(panel, "trec")[1]
    lost = searched(alone)["unipelt-apl"]
    assert lost.scores(0.0).count(0.0) == lost.failed > 0


def test_without_a_search_nothing_is_said_of_tuning() -> None:
    from benchmarks.records import records

    assert not [name for name in frame(records(seeds=1)) if name.startswith("tun")]
