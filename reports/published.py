"""Figures that others published, with their source, and one composite index as an optional column.

They stand beside measured figures only where task, K and backbone match (`not_comparable`).
"""

from __future__ import annotations

import math
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PAPER = "Mao et al., UniPELT, ACL 2022 (arXiv 2110.07577)"
BACKBONE = "bert-base-uncased"
COLUMNS = (
    *("method", "backbone", "k", "task", "metric"),
    *("score_percent", "std_percent", "seeds", "scored_on", "source"),
)
KS = (100, 500, 1000, None)  # None: all training rows
METRICS = {
    "glue/sst2": "accuracy",
    "glue/mrpc": "f1",
    "glue/cola": "matthews",
    "glue/rte": "accuracy",
    "glue/qnli": "accuracy",
    "glue/stsb": "spearman",
    "glue/mnli": "accuracy",
    "glue/qqp": "f1",
}

# PSCP's reference constants (PEFT-Bench, Belanec et al. 2025, arXiv 2511.21285): each cost that alone
# halves the score at beta 1.
PSCP_TRAINED_PARAMETERS = 5e8
PSCP_EXTRA_INFERENCE_FLOPS = 10e12
PSCP_PEAK_TRAINING_BYTES = 94e9
PSCP_BETA = 1.0
PPT_TRAINED_PARAMETERS = 1e7  # PPT's constant C (V-PETL Bench, Xin et al. 2024)


def published_scores() -> pd.DataFrame:
    """The scores of Mao et al. (Tables 1 and 3), one row a method, K and task.

    Returns:
        method (in our notation), backbone, k (<NA>: all training rows), task (in our names; `average` is
        the mean over the eight), metric, score_percent, std_percent (over seeds, ddof unknown; absent
        for one run), seeds, scored_on, source.
    """
    import pandas as pd

    low = _table("glue_low_resource").rename(
        columns={"score_mean_percent": "score_percent", "score_std_percent": "std_percent"}
    )
    # K runs: mean of five seeds on the official dev set, the checkpoint chosen on other training rows.
    low = low.assign(seeds=5, scored_on="official dev set, not used for choices")
    # All rows: one run, its checkpoint chosen on the very rows that it is scored on.
    full = _table("glue_full").assign(seeds=1, scored_on="official dev set, best checkpoint on it")
    frame = pd.concat([low, full], ignore_index=True)
    frame["k"] = frame["k"].astype("Int64")
    frame["task"] = frame["task"].where(frame["task"] == "average", "glue/" + frame["task"])
    frame["metric"] = frame["task"].map(METRICS).fillna("mean of the tasks' metrics")
    frame["backbone"] = BACKBONE
    ordered: pd.DataFrame = frame[[*COLUMNS]]
    return ordered


def published_costs() -> pd.DataFrame:
    """The costs of Mao et al. (Table 4): method, backbone, reported_parameters, two times, source.

    Parameters are the stored ones, without the prefix network, rounded as printed; times are percent of
    full fine-tuning, with no hardware, batch size or repeats given.
    """
    frame = _table("cost")
    frame.insert(1, "backbone", BACKBONE)
    return frame


def not_comparable(*, task: str, k: int | None, backbone: str) -> str | None:
    """Why a measured score has no published figure beside it; None if it may have one.

    Args:
        task: in our names, such as `glue/rte`.
        k: number of training rows; None is all of them.
        backbone: the model's name, such as `bert-base-uncased`, with or without its organisation.
    """
    if task not in METRICS:
        return f"{task}: the paper has GLUE without WNLI only"
    if k not in KS:
        return f"K = {k}: the paper has 100, 500, 1000 and all"
    if backbone.rsplit("/", 1)[-1] != BACKBONE:
        return f"{backbone}: the paper has {BACKBONE} only"
    return None


def pscp(
    score: float | None,
    *,
    trained_parameters: float | None,
    extra_inference_flops: float | None,
    peak_training_bytes: float | None,
    beta: float = PSCP_BETA,
) -> float | None:
    """PEFT Soft Cost Penalties: the score, discounted for parameters, FLOPs and memory.

    `score (1 + P / 5e8)^-b (1 + F / 10 TFLOPs)^-b (1 + M / 94 GB)^-b`. The constants fit large decoders on
    one kind of GPU; on small models all three factors are near 1. A column for reference, no ranking.

    Args:
        score: the task's, higher is better; in the unit that comes back.
        trained_parameters: that got a gradient, the head's among them or not: say which.
        extra_inference_flops: FLOPs of one inference above the bare model's; 0 if merged.
        peak_training_bytes: peak memory of training (1 GB taken as 1e9 bytes).
        beta: the weight of each cost.

    Returns:
        None where one of them was not measured.

    Raises:
        ValueError: if a cost is negative.
    """
    costs = (trained_parameters, extra_inference_flops, peak_training_bytes)
    measured = [cost for cost in costs if cost is not None]
    if score is None or len(measured) < len(costs):
        return None
    if min(measured) < 0:
        raise ValueError(f"PSCP takes no negative cost, and one is: {measured}")
    references = (PSCP_TRAINED_PARAMETERS, PSCP_EXTRA_INFERENCE_FLOPS, PSCP_PEAK_TRAINING_BYTES)
    penalties = [(1 + cost / reference) ** -beta for cost, reference in zip(measured, references, strict=True)]
    return float(score * math.prod(penalties))


def _table(name: str) -> pd.DataFrame:
    """One packaged table as it was transcribed."""
    import pandas as pd

    with (files("reports") / "data" / f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
