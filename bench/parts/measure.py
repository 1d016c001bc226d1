"""Effective parameters and gate values of a run's chosen checkpoint, on its own dev and test rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from bench.errors import described
from bench.parts import effective as counts
from bench.parts.gates import GateLog, GateSite, gate_sites, recording, removed
from bench.parts.verification import Paired, rows_needed, verify_removal
from bench.records.store import Effective
from bench.training.encoding import Encoded, batches
from bench.training.prepared import Setting
from methods.kit.parts import Part

if TYPE_CHECKING:
    import pandas as pd

TAU, RHO = 0.1, 0.01
"""Where the curves active(tau) and contributing(rho) are read off for the tables."""


def losses(setting: Setting, part: Encoded, logits: torch.Tensor) -> np.ndarray:
    """The loss of each example, (examples,)."""
    if setting.examples.kind == "regression":
        found = functional.mse_loss(logits.squeeze(-1), part.labels, reduction="none")
    else:
        found = functional.cross_entropy(logits, part.labels, reduction="none")
    return found.numpy()


def gate_values(setting: Setting, part: Encoded, sites: Sequence[GateSite]) -> tuple[np.ndarray, torch.Tensor]:
    """The gates on the rows of `part`, (examples, gates), and the logits, both in the rows' order."""
    with recording(sites) as log:
        logits = setting.logits(part)
    return in_row_order(setting, part, log), logits


def in_row_order(setting: Setting, part: Encoded, log: GateLog) -> np.ndarray:
    """What one evaluation recorded, put back into the order of the rows."""
    return _in_row_order(setting, part, log.values()).numpy()


def _in_row_order(setting: Setting, part: Encoded, seen: torch.Tensor) -> torch.Tensor:
    rows = torch.cat([batch.rows for batch in batches(part, size=setting.protocol.eval_batch_size)])
    ordered = torch.empty_like(seen)
    ordered[rows] = seen
    return ordered


def gate_frame(setting: Setting, sites: Sequence[GateSite]) -> pd.DataFrame:
    """One row for each gate and example of the dev and test rows, with the example's properties."""
    import pandas as pd

    frames = []
    for split_name, part in (("dev", setting.dev), ("test", setting.test)):
        if not len(part):
            continue
        values, logits = gate_values(setting, part, sites)
        frames.append(long_frame(setting, part, sites, values, logits).assign(split=split_name))
    whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return whole


def long_frame(
    setting: Setting,
    part: Encoded,
    sites: Sequence[GateSite],
    values: np.ndarray,
    logits: torch.Tensor,
    *,
    examples: np.ndarray | None = None,
) -> pd.DataFrame:
    """Values (examples, gates) as one row each: task, seed, layer, part, example, length, label, loss, correct.

    `examples` numbers the rows; None counts them from 0.
    """
    import pandas as pd

    examples = np.arange(len(part)) if examples is None else examples
    loss = losses(setting, part, logits)
    labels = part.labels.numpy()
    classes = setting.examples.labels
    named = labels if classes is None else np.asarray(classes, dtype=object)[labels]
    own: dict[str, Any] = {
        "example": examples,
        "length": part.lengths.astype(np.int64),
        "label": named.astype(str),
        "loss": loss,
        "correct": np.nan if classes is None else (logits.argmax(1).numpy() == labels).astype(float),
    }
    base = pd.DataFrame(own)
    frames = [base.assign(layer=site.layer, part=site.part, value=values[:, index]) for index, site in enumerate(sites)]
    spec = setting.spec
    names = {"task": spec.task.label, "method": spec.method.label}
    whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
    named_rows: pd.DataFrame = whole.assign(**names, seed=spec.model_seed, data_seed=spec.data_seed)
    return named_rows


def part_contributions(setting: Setting, parts: Sequence[Part], part: Encoded) -> np.ndarray:
    """What each part contributes on each row of `part`, in the rows' order, (examples, parts).

    Not a number for a part whose site does not run in a forward pass.
    """
    with counts.contributions(parts, setting.classifier) as log:
        setting.logits(part)
    return _in_row_order(setting, part, torch.from_numpy(log.values())).numpy()


def measure(
    setting: Setting, *, stored: int, epsilon: float, verify_rows: int = 1000, gates: pd.DataFrame | None = None
) -> Effective:
    """The effective counts of a trained, ejected classifier.

    Args:
        setting: its method's parts are measured.
        stored: parameters to store, without the head.
        epsilon: how far the true score may fall in the verified count.
        verify_rows: rows that its removal is tested on, at most.
        gates: what `gate_frame` gives, if the method has gates.
    """
    parts = setting.method.parts_of(setting.classifier.backbone, setting.pretrained())
    sizes = np.array([part.size for part in parts], dtype=float)
    other = stored - int(sizes.sum())
    found: dict[str, Any] = {"parts": len(parts), "part_parameters": int(sizes.sum())}
    absent: dict[str, str] = {}
    found |= _gate_counts(gate_sites(parts), sizes, other, gates, parts)
    if gates is None:
        absent["participation_ratio"] = "the method has no gates"
    if not parts:
        found |= {"contributing_parameters": float(other), "verified_parameters": other}
    elif not len(setting.dev):
        absent |= dict.fromkeys(("contributing_parameters", "verified_parameters"), "there are no dev rows")
    else:
        try:
            contributed = part_contributions(setting, parts, setting.dev)
        except Exception as error:  # what a part does when it is run again costs these counts, not the others
            reason = f"the parts' contributions cannot be measured ({described(error)})"
            absent |= dict.fromkeys(("contributing_parameters", "verified_parameters"), reason)
        else:
            found |= _contributing(parts, contributed, sizes, other, absent)
            found |= _verified(setting, parts, contributed, other, epsilon, verify_rows, absent)
    try:
        found["idle"] = setting.method.idle(setting.classifier.backbone, setting.pretrained(), _pass(setting))
    except Exception as error:  # as above
        absent["idle"] = f"the method's idle() failed ({described(error)})"
    return Effective(**found, absent=absent)


def _contributing(
    parts: Sequence[Part], contributed: np.ndarray, sizes: np.ndarray, other: int, absent: dict[str, str]
) -> dict[str, Any]:
    """Counts that rest on contributions (examples, parts); none where a part's is unknown."""
    means = contributed.mean(axis=0)
    known = {part.name: float(mean) for part, mean in zip(parts, means, strict=True) if np.isfinite(mean)}
    silent = [part.name for part in parts if part.name not in known]
    if silent:
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        absent["contributing_parameters"] = f"the module of part {silent[0]}{more} never ran by itself on the dev rows"
        return {"contributions": known}
    curve = [(rho, other + counts.contributing_parameters(contributed, sizes, rho)) for rho in counts.RHOS]
    return {"contributions": known, "contributing_curve": curve, "contributing_parameters": dict(curve)[RHO]}


def _gate_counts(
    sites: Sequence[GateSite], sizes: np.ndarray, other: int, gates: pd.DataFrame | None, parts: Sequence[Part]
) -> dict[str, Any]:
    """Counts that rest on gate values; an ungated part counts with gate 1."""
    if gates is None or not sites:
        whole = float(sizes.sum()) + other
        return {"soft_parameters": whole, "active_parameters": whole}
    test = gates[gates["split"] == "test"]
    table = test.pivot(index="example", columns=["layer", "part"], values="value")
    values = np.stack([table[(site.layer, site.part)].to_numpy() for site in sites], axis=1)
    behind = np.array([site.size for site in sites], dtype=float)
    always = other + float(sizes.sum() - behind.sum())
    curve = [(tau, always + counts.active_parameters(values, behind, tau)) for tau in counts.TAUS]
    return {
        "soft_parameters": always + counts.soft_parameters(values, behind),
        "active_curve": curve,
        "active_parameters": dict(curve)[TAU],
        "participation_ratio": counts.participation_ratio(values),
        "gates": {f"{site.layer}.{site.part}": float(values[:, i].mean()) for i, site in enumerate(sites)},
    }


def _verified(
    setting: Setting,
    parts: Sequence[Part],
    contributed: np.ndarray,
    other: int,
    epsilon: float,
    verify_rows: int,
    absent: dict[str, str],
) -> dict[str, Any]:
    """Parts left after a removal that is chosen on dev rows and tested on others.

    `contributed` is (dev rows, parts); the order of removal comes from the rows that are chosen on alone.
    """
    if setting.headline != "accuracy":
        absent["verified_parameters"] = (
            f"only a fall of accuracy can be tested exactly: {setting.headline} can hang on a few rows that change"
        )
        return {}
    chosen_on, tested_on = setting.verification_rows(verify_rows)
    reason = _untestable(len(tested_on), epsilon)
    if reason is not None:
        absent["verified_parameters"] = reason
        return {"verified_epsilon": epsilon}
    order = contributed[: len(chosen_on)].mean(axis=0).tolist()
    gone = counts.greedy_removal(parts, order, score=lambda: setting.headline_score(chosen_on), epsilon=epsilon)
    if gone is None:
        absent["verified_parameters"] = f"{setting.headline} is not among the task's scores"
        return {}

    def without(size: int) -> np.ndarray:
        with removed(gone[:size]):
            return setting.logits(tested_on).numpy()

    paired = Paired(labels=tested_on.labels.numpy(), before=setting.logits(tested_on).numpy())
    passed = verify_removal(paired, len(gone), without, epsilon)
    dropped = {part.name for part in gone[: passed.removed]}
    kept = [part for part in parts if part.name not in dropped]
    found: dict[str, Any] = {
        "verified_parameters": sum(part.size for part in kept) + other,
        "verified_parts": [part.name for part in kept],
        "verified_epsilon": epsilon,
        "verified_rows": len(tested_on),
        "verified_on": "spare" if len(chosen_on) == len(setting.dev) else "half of dev",
        "verified_bound": passed.bound,
    }
    before = setting.headline_score(setting.test)
    with removed(gone[: passed.removed]):
        after = setting.headline_score(setting.test)
    if before is not None and after is not None:
        found["verified_test_change"] = after - before
    return found


def _untestable(rows: int, epsilon: float) -> str | None:
    """Why a removal cannot be verified with so many rows; None if it can."""
    needed = rows_needed(epsilon)
    if needed is None:
        return "no number of rows can show that a score does not fall at all: epsilon has to be above 0"
    if rows < needed:
        return f"{rows} rows are free to verify on; epsilon {epsilon:g} needs {needed} or more"
    return None


def _pass(setting: Setting) -> Any:
    """Runs the dev rows (or the test rows where there are none) through the classifier once."""
    part = setting.dev if len(setting.dev) else setting.test
    return lambda: setting.logits(part)


def all_sites(setting: Setting) -> list[GateSite]:
    """The gates of the setting's method; none for most methods."""
    if not has_gates(setting):
        return []
    return gate_sites(setting.method.parts_of(setting.classifier.backbone, {}))


def has_gates(setting: Setting) -> bool:
    """Whether the adapted backbone has any gate module."""
    from methods.kit.gates import Gate

    return any(isinstance(module, Gate) for module in setting.classifier.backbone.modules())


def watching(sites: Sequence[GateSite]) -> Any:
    """Records where there are gates; else a block that does nothing."""
    return recording(sites) if sites else nullcontext()
