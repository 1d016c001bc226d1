"""Columns that are computed from other columns, and with the measured ones every column that a table can show.

A derived column is one entry of `DERIVED`: its `Column` and the function that computes it. Those here are composite
indices, for reference; they rank nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.columns.document import BY_KEY, Column
from reports.columns.tuning import TUNING

if TYPE_CHECKING:
    import pandas as pd

# PSCP's reference constants (PEFT-Bench, Belanec et al. 2025, arXiv 2511.21285): each cost that alone
# halves the score at beta 1.
PSCP_TRAINED_PARAMETERS = 5e8
PSCP_EXTRA_INFERENCE_FLOPS = 10e12
PSCP_PEAK_TRAINING_BYTES = 94e9
PSCP_BETA = 1.0
PPT_TRAINED_PARAMETERS = 1e7  # PPT's constant C (V-PETL Bench, Xin et al. 2024)

PSCP = Column(
    key="pscp",
    label="PSCP",
    group="index",
    better=None,
    says="The score, discounted for trained parameters, inference FLOPs and training memory; no ranking.",
    formula=(
        f"score (1 + P/{PSCP_TRAINED_PARAMETERS:.0e})^-b (1 + F/{PSCP_EXTRA_INFERENCE_FLOPS:.0e} FLOPs)^-b "
        f"(1 + M/{PSCP_PEAK_TRAINING_BYTES:.0e} bytes)^-b with b = {PSCP_BETA:g}"
    ),
    meter="computed from the record (PEFT-Bench, Belanec et al. 2025, arXiv 2511.21285)",
    error=(
        "constants made for large decoders: on small models all factors are near 1; F: an example, above the "
        "cheapest method of the same rows; M: live tensor bytes"
    ),
)


PPT = Column(
    key="ppt",
    label="PPT",
    group="index",
    better=None,
    says="Performance-parameter trade-off: the score, discounted for trained parameters alone; no ranking.",
    formula=f"score exp(-log10(P/{PPT_TRAINED_PARAMETERS:.0e} + 1)), P the trained parameters without the head",
    meter="computed from the record (V-PETL Bench, Xin et al., NeurIPS 2024 Datasets and Benchmarks)",
    error="blind to every other cost; its constant was chosen for vision models; form and constant quoted from memory",
)


def ppt_of(runs: pd.DataFrame) -> pd.Series[float]:
    """PPT of each run of a frame; missing where one of its terms is."""
    import numpy as np

    score, trained = _terms(runs, "score", "trained_parameters")
    ppt: pd.Series[float] = score * np.exp(-np.log10(trained / PPT_TRAINED_PARAMETERS + 1))
    return ppt


def pscp_of(runs: pd.DataFrame) -> pd.Series[float]:
    """PSCP of each run of a frame; missing where one of its terms is.

    The FLOPs that count are those above the cheapest run of the same setting, task and seed.
    """
    import pandas as pd

    score, trained, flops, peak = _terms(
        runs, "score", "trained_parameters", "infer_flops_per_example", "train_live_bytes"
    )
    least = flops.where(flops > 0).groupby([runs[key] for key in ("setting", "task", "seed")]).transform("min")
    extra = (flops - least).clip(lower=0)
    values = [
        pscp(score, trained_parameters=trained, extra_inference_flops=extra, peak_training_bytes=peak)
        if math.isfinite(score + trained + extra + peak)
        else None
        for score, trained, extra, peak in zip(score, trained, extra, peak, strict=True)
    ]
    indices: pd.Series[float] = pd.Series(values, index=runs.index, dtype=float)
    return indices


def _terms(runs: pd.DataFrame, *keys: str) -> list[pd.Series[float]]:
    """Columns of a frame as floats, all missing where the frame lacks one."""
    import pandas as pd

    lacking: pd.Series[float] = pd.Series(math.nan, index=runs.index)
    return [runs[key].astype(float) if key in runs else lacking for key in keys]


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


@dataclass(frozen=True)
class Derived:
    """A column that is computed from others.

    Attributes:
        column: what is said of it.
        of: computes the figure of each run from the frame of runs; it is missing where one of its terms is missing.
    """

    column: Column
    of: Callable[[pd.DataFrame], pd.Series[float]]


DERIVED: dict[str, Derived] = {
    derived.column.key: derived
    for derived in (
        Derived(PSCP, pscp_of),
        Derived(PPT, ppt_of),
    )
}
"""The derived columns by key. They are computed where they are asked for."""

KNOWN: dict[str, Column] = BY_KEY | TUNING | {key: derived.column for key, derived in DERIVED.items()}
"""Every column that a table can show, by key: `--columns`, tables, figures, page and definitions read this."""
