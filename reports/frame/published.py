"""The scores that Mao et al. published, with their source.

They stand beside measured figures only where task, K and backbone match (`not_comparable`).
"""

from __future__ import annotations

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


def _table(name: str) -> pd.DataFrame:
    """Reads a table of the paper from the CSV file into which it was transcribed."""
    import pandas as pd

    with (files("reports") / "data" / f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
