"""Published figures: they agree with the averages and bounds that the paper prints, and PSCP by hand."""

from __future__ import annotations

import numpy as np
import pytest

from reports.columns import indices
from reports.frame import published
from reports.stats import intervals as stats


def test_scores_are_complete_and_carry_their_source() -> None:
    frame = published.published_scores()
    assert tuple(frame.columns) == published.COLUMNS
    # Seven methods by three K, prefix[length=50] at K = 100, seven at all rows; eight tasks and their mean.
    assert len(frame) == (7 * 3 + 1) * 9 + 7 * 9
    assert not frame.drop(columns=["k", "std_percent"]).isna().any(axis=None)
    assert set(frame["source"]) == {f"Mao et al., ACL 2022, Table {number}" for number in (1, 3)}
    assert set(frame.loc[frame["k"].isna(), "seeds"]) == {1}
    assert frame.loc[frame["k"].isna(), "std_percent"].isna().all()
    assert not frame.duplicated(["method", "k", "task"]).any()
    row = frame[(frame["method"] == "unipelt-apl") & (frame["k"] == 100) & (frame["task"] == "glue/cola")]
    assert row[["score_percent", "std_percent", "metric"]].values.tolist() == [[23.62, 8.83, "matthews"]]


def test_printed_averages_are_the_means_of_the_tasks() -> None:
    for _, rows in published.published_scores().groupby(["method", "k"], dropna=False):
        tasks = rows[rows["task"] != "average"]
        printed = rows.loc[rows["task"] == "average", "score_percent"].item()
        assert len(tasks) == 8
        # One printed average, prefix[length=50]'s 47.56, is 0.019 off its tasks' mean; the others round.
        assert stats.mean([tasks["score_percent"].to_list()]) == pytest.approx(printed, abs=0.0195)


@pytest.mark.parametrize(
    ("parts", "bounds"),
    [(("adapter", "prefix"), (58.86, 69.69, 72.58)), (("adapter", "prefix", "lora"), (60.60, 70.02, 73.19))],
)
def test_best_part_per_task_gives_the_papers_upper_bound(parts: tuple[str, ...], bounds: tuple[float, ...]) -> None:
    frame = published.published_scores()  # the bounds are the paper's Table 2
    frame = frame[frame["method"].isin(parts) & (frame["task"] != "average") & frame["k"].notna()]
    best = frame.groupby(["k", "task"])["score_percent"].max().groupby("k").mean()
    assert best.to_list() == pytest.approx(bounds, abs=0.0101)


def test_spread_of_published_averages_is_that_of_independent_tasks() -> None:
    # What `stats.mean_interval` assumes: a seed does not move all the tasks together.
    frame = published.published_scores().dropna(subset="std_percent")
    tasks = frame[frame["task"] != "average"].groupby(["method", "k"])["std_percent"]
    independent = tasks.apply(lambda spread: np.sqrt((spread**2).sum()) / 8)
    printed = frame[frame["task"] == "average"].set_index(["method", "k"])["std_percent"]
    ratio = np.sqrt((printed**2).sum() / (independent**2).sum())
    assert 0.85 < ratio < 1.1  # 1 if independent; with a correlation of 0.2, about sqrt(1 + 7 * 0.2) = 1.5


def test_not_comparable_names_the_reason() -> None:
    assert published.not_comparable(task="glue/rte", k=500, backbone="google-bert/bert-base-uncased") is None
    assert published.not_comparable(task="glue/rte", k=None, backbone="bert-base-uncased") is None
    for task, k, backbone, reason in (
        ("trec", 100, "bert-base-uncased", "trec: the paper has GLUE"),
        ("glue/rte", 200, "bert-base-uncased", "K = 200"),
        ("glue/rte", 100, "minilm-l6", "minilm-l6: the paper has bert-base-uncased only"),
    ):
        found = published.not_comparable(task=task, k=k, backbone=backbone)
        assert found is not None
        assert found.startswith(reason)


def test_pscp_by_hand() -> None:
    # Each cost at its reference halves the score.
    all_three = indices.pscp(0.8, trained_parameters=5e8, extra_inference_flops=10e12, peak_training_bytes=94e9)
    assert all_three == pytest.approx(0.1)
    assert indices.pscp(
        0.8, trained_parameters=5e8, extra_inference_flops=0, peak_training_bytes=0, beta=2
    ) == pytest.approx(0.2)
    assert indices.pscp(0.8, trained_parameters=1, extra_inference_flops=None, peak_training_bytes=1) is None
    with pytest.raises(ValueError, match="no negative cost"):
        indices.pscp(0.8, trained_parameters=1, extra_inference_flops=-1, peak_training_bytes=1)
