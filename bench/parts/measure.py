"""Measures effective parameters and gate values of a run at its chosen checkpoint, on its dev and test rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.errors import described
from bench.parts import effective as counts
from bench.parts.gates import GateLog, GateSite, gate_sites, recording, removed
from bench.parts.verification import Paired, rows_needed, verify_removal
from bench.records.store import Effective
from bench.tasks import score_named
from bench.training.encoding import Encoded, batches
from bench.training.prepared import Setting
from methods.kit.parts import Part

if TYPE_CHECKING:
    import pandas as pd

TAU, RHO = 0.1, 0.01
"""The thresholds at which the tables show the curves active(tau) and contributing(rho)."""


def losses(setting: Setting, part: Encoded, logits: torch.Tensor) -> np.ndarray:
    """The loss of each example, (examples,)."""
    return setting.kind.losses(logits, part.labels).numpy()


def gate_values(setting: Setting, part: Encoded, sites: Sequence[GateSite]) -> tuple[np.ndarray, torch.Tensor]:
    """Gate values (examples, gates) and logits (examples, outputs) on the rows of `part`, in the order of the rows."""
    with recording(sites) as log:
        logits = setting.logits(part)
    return in_row_order(setting, part, log), logits


def in_row_order(setting: Setting, part: Encoded, log: GateLog) -> np.ndarray:
    """The gate values of one evaluation of `part`, (examples, gates), put back into the order of the rows.

    Batches are sorted by length, so that the log has the examples in another order.
    """
    return _in_row_order(setting, part, log.values()).numpy()


def _in_row_order(setting: Setting, part: Encoded, seen: torch.Tensor) -> torch.Tensor:
    rows = torch.cat([batch.rows for batch in batches(part, size=setting.protocol.eval_batch_size)])
    ordered = torch.empty_like(seen)
    ordered[rows] = seen
    return ordered


def gate_frame(setting: Setting, sites: Sequence[GateSite]) -> pd.DataFrame:
    """The table of `long_frame` for the dev and test rows together, with a column `split`."""
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
    """A table with one row for each gate and example.

    Its columns are task, method, seed, data_seed, layer, part, example, length, label, loss, correct and value.

    Args:
        setting: the classifier and its data.
        part: the rows.
        sites: the gates.
        values: (examples, gates).
        logits: (examples, outputs).
        examples: the numbers of the rows, (examples,); None counts them from 0.
    """
    import pandas as pd

    examples = np.arange(len(part)) if examples is None else examples
    loss = losses(setting, part, logits)
    labels = part.labels.numpy()
    correct = setting.kind.correct(logits.numpy(), labels)
    properties: dict[str, Any] = {
        "example": examples,
        "length": part.lengths.astype(np.int64),
        "label": setting.kind.texts(labels, setting.examples.labels),
        "loss": loss,
        "correct": np.nan if correct is None else correct.astype(float),
    }
    base = pd.DataFrame(properties)
    frames = [base.assign(layer=site.layer, part=site.part, value=values[:, index]) for index, site in enumerate(sites)]
    spec = setting.spec
    names = {"task": spec.task.label, "method": spec.method.label}
    whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
    named_rows: pd.DataFrame = whole.assign(**names, seed=spec.model_seed, data_seed=spec.data_seed)
    return named_rows


def part_contributions(setting: Setting, parts: Sequence[Part], part: Encoded) -> np.ndarray:
    """The contribution of each part on each row of `part`, (examples, parts), in the order of the rows.

    NaN for a part whose site does not run in a forward pass.
    """
    with counts.contributions(parts, setting.classifier) as log:
        setting.logits(part)
    return _in_row_order(setting, part, torch.from_numpy(log.values())).numpy()


def measure(
    setting: Setting, *, stored: int, epsilon: float, verify_rows: int = 1000, gates: pd.DataFrame | None = None
) -> Effective:
    """Measures the effective counts of a trained, ejected classifier.

    Args:
        setting: the classifier and its data.
        stored: number of parameters to store, without the head.
        epsilon: how far the true accuracy may fall in the verified count.
        verify_rows: most rows on which a removal is tested.
        gates: the result of `gate_frame`; None for a method without gates.

    Returns:
        The counts; those that cannot be measured stand in `absent`, with the reason.
    """
    parts = setting.method.parts_of(setting.classifier.backbone, setting.pretrained())
    sizes = np.array([part.size for part in parts], dtype=float)
    other = stored - int(sizes.sum())  # parameters of gates, and others that belong to no part
    figures: dict[str, Any] = {"parts": len(parts), "part_parameters": int(sizes.sum())}
    absent: dict[str, str] = {}
    figures |= _gate_counts(gate_sites(parts), sizes, other, gates, parts)
    if gates is None:
        absent["participation_ratio"] = "the method has no gates"
    if not parts:
        figures |= {"contributing_parameters": float(other), "verified_parameters": other}
    elif not len(setting.dev):
        absent |= dict.fromkeys(("contributing_parameters", "verified_parameters"), "there are no dev rows")
    else:
        try:
            contributed = part_contributions(setting, parts, setting.dev)
        except Exception as error:  # a part of an author may fail when it is run again; the other counts remain
            reason = f"the parts' contributions cannot be measured ({described(error)})"
            absent |= dict.fromkeys(("contributing_parameters", "verified_parameters"), reason)
        else:
            figures |= _contributing(parts, contributed, sizes, other, absent)
            figures |= _verified(setting, parts, contributed, other, epsilon, verify_rows, absent)
    try:
        figures["idle"] = setting.method.idle(setting.classifier.backbone, setting.pretrained(), _pass(setting))
    except Exception as error:  # as above
        absent["idle"] = f"the method's idle() failed ({described(error)})"
    return Effective(**figures, absent=absent)


def _contributing(
    parts: Sequence[Part], contributed: np.ndarray, sizes: np.ndarray, other: int, absent: dict[str, str]
) -> dict[str, Any]:
    """The counts made from contributions (examples, parts).

    Where a part has no contribution there is no count, and the reason goes into `absent`.
    """
    means = contributed.mean(axis=0)
    measured = {part.name: float(mean) for part, mean in zip(parts, means, strict=True) if np.isfinite(mean)}
    silent = [part.name for part in parts if part.name not in measured]
    if silent:
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        absent["contributing_parameters"] = f"the module of part {silent[0]}{more} never ran by itself on the dev rows"
        return {"contributions": measured}
    curve = [(rho, other + counts.contributing_parameters(contributed, sizes, rho)) for rho in counts.RHOS]
    return {"contributions": measured, "contributing_curve": curve, "contributing_parameters": dict(curve)[RHO]}


def _gate_counts(
    sites: Sequence[GateSite], sizes: np.ndarray, other: int, gates: pd.DataFrame | None, parts: Sequence[Part]
) -> dict[str, Any]:
    """The counts made from gate values on the test rows; a part without a gate counts as if its gate were 1."""
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
    """The verified count: parts that remain after a removal that is chosen on dev rows and tested on other rows.

    `contributed` is (dev rows, parts). Only the rows that choose the removal decide its order, not those that test it.
    Where there is no count, the reason goes into `absent`.
    """
    declared = score_named(setting.headline)
    if declared is None or not declared.share_correct:
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

    def right() -> np.ndarray:
        answers = setting.kind.correct(setting.logits(tested_on).numpy(), tested_on.labels.numpy())
        assert answers is not None, "a score that is a share of right answers has them"
        return answers

    def without(size: int) -> np.ndarray:
        with removed(gone[:size]):
            return right()

    passed = verify_removal(Paired(before=right()), len(gone), without, epsilon)
    dropped = {part.name for part in gone[: passed.removed]}
    kept = [part for part in parts if part.name not in dropped]
    verified: dict[str, Any] = {
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
        verified["verified_test_change"] = after - before
    return verified


def _untestable(rows: int, epsilon: float) -> str | None:
    """The reason why so many rows cannot verify a removal; None if they can."""
    needed = rows_needed(epsilon)
    if needed is None:
        return "no number of rows can show that a score does not fall at all: epsilon has to be above 0"
    if rows < needed:
        return f"{rows} rows are free to verify on; epsilon {epsilon:g} needs {needed} or more"
    return None


def _pass(setting: Setting) -> Callable[[], torch.Tensor]:
    """A function that sends the dev rows (or the test rows where there are none) through the classifier once."""
    part = setting.dev if len(setting.dev) else setting.test
    return lambda: setting.logits(part)


def all_sites(setting: Setting) -> list[GateSite]:
    """The gates of the adapted backbone; empty for most methods."""
    if not has_gates(setting):
        return []
    return gate_sites(setting.method.parts_of(setting.classifier.backbone, {}))


def has_gates(setting: Setting) -> bool:
    """Whether the adapted backbone has any gate module."""
    from methods.kit.gates import Gate

    return any(isinstance(module, Gate) for module in setting.classifier.backbone.modules())


def watching(sites: Sequence[GateSite]) -> AbstractContextManager[GateLog | None]:
    """A block that records the gates; it gives None and does nothing where there are none."""
    return recording(sites) if sites else nullcontext()
