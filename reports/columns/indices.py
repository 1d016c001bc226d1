"""Composite indices: columns for reference that rank nothing, beside the figures of `reports.columns.document`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.columns.document import BY_KEY, Column

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


KNOWN: dict[str, Column] = BY_KEY | {PSCP.key: PSCP, PPT.key: PPT}
"""Every figure that a table may show."""


def ppt_of(runs: pd.DataFrame) -> pd.Series[float]:
    """PPT of each run of a frame; missing where one of its terms is."""
    import numpy as np

    penalty = np.exp(-np.log10(runs["trained_parameters"].astype(float) / PPT_TRAINED_PARAMETERS + 1))
    found: pd.Series[float] = (runs["score"].astype(float) * penalty).rename(PPT.key)
    return found


def pscp_of(runs: pd.DataFrame) -> pd.Series[float]:
    """PSCP of each run of a frame; missing where one of its terms is."""
    import pandas as pd

    terms = ("score", "trained_parameters", "infer_flops_per_example", "train_live_bytes")
    if any(term not in runs for term in terms):
        nothing: pd.Series[float] = pd.Series(float("nan"), index=runs.index, name=PSCP.key)
        return nothing
    flops = runs["infer_flops_per_example"]
    least = flops.where(flops > 0).groupby([runs[key] for key in ("setting", "task", "seed")]).transform("min")
    whole = runs[list(terms)].assign(least=least).dropna()
    values = [
        pscp(
            score,
            trained_parameters=trained,
            extra_inference_flops=max(own - base, 0.0),
            peak_training_bytes=peak,
        )
        for score, trained, own, peak, base in whole.itertuples(index=False, name=None)
    ]
    found: pd.Series[float] = pd.Series(values, index=whole.index, dtype=float, name=PSCP.key)
    return found.reindex(runs.index)


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
