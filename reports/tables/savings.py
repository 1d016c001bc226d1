"""Why a method that trains few parameters saves less memory or time than that, from the measured figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reports.columns.numerals import significant
from reports.frame.panels import Panel
from reports.tables.needs import costs_of, sized, suspect
from reports.tables.notes import joined
from reports.tables.table import NOTHING, Cell, Head, Table

FEW = 0.1
"""A method trains few parameters if it stores at most this share of the backbone's."""
EXPECTED = 0.5
"""Such a method is expected to save at least this share of what training all of the backbone takes."""
GONE = 0.02
"""Activations of less than this share of the peak are gone by then."""

_PARTS = {
    "train_weights_bytes": "weights",
    "train_gradients_bytes": "gradients",
    "train_optimizer_bytes": "optimizer state",
    "train_activations_bytes": "activations and workspace",
}


@dataclass(frozen=True, kw_only=True)
class Savings:
    """The explanation of one panel: a question, sentences, and the figures that they are made from."""

    title: str
    sentences: tuple[str, ...]
    table: Table


def savings(panel: Panel) -> Savings | None:
    """The explanation; None where no method that trains few parameters saves less than is expected of it.

    The reference is the method that trains the whole backbone. Without one, or without a measured figure of it, nothing
    is said.
    """
    stored, share = costs_of(panel, "stored_parameters"), costs_of(panel, "stored_share")
    whole = [method for method, part in share.items() if part >= 1]
    few = [method for method, part in share.items() if 0 < part <= FEW]
    if not whole or not few:
        return None
    reference = max(whole, key=lambda method: stored.get(method, 0.0))
    keys = {"memory": "train_live_bytes", "FLOPs": "train_flops_per_example", "time": "train_step_ratio"}
    of_reference: dict[str, dict[str, float]] = {}
    for name, key in keys.items():
        costs = costs_of(panel, key)
        if costs.get(reference) and not (key == "train_step_ratio" and suspect(panel, key)):
            of_reference[name] = {method: value / costs[reference] for method, value in costs.items()}
    lacking = {
        name: [method for method in few if ratios.get(method, 0.0) > 1 - EXPECTED]
        for name, ratios in of_reference.items()
    }
    if not any(lacking.values()):
        return None
    sentences = [_start(lacking, reference)]
    if "memory" in of_reference:
        sentences += _memory(panel, few, reference)
    if "FLOPs" in of_reference:
        sentences += _backward(panel, few, reference, of_reference["FLOPs"])
    sentences += _around(panel, few, reference)
    return Savings(title=_title(lacking), sentences=tuple(sentences), table=_table(panel, few, reference, of_reference))


def _title(lacking: Mapping[str, list[str]]) -> str:
    memory = bool(lacking.get("memory"))
    time = bool(lacking.get("time") or lacking.get("FLOPs"))
    if memory and time:
        return "Why does it save neither time nor memory here?"
    return f"Why does it save so little {'memory' if memory else 'time'} here?"


def _start(lacking: Mapping[str, list[str]], reference: str) -> str:
    words = [f"{name} ({joined(methods)})" for name, methods in lacking.items() if methods]
    return (
        f"Methods that store at most {FEW:.0%} of the backbone's parameters save less than {EXPECTED:.0%} of what "
        f"{reference} takes in {joined(words)}. The figures below, measured here, show where the rest goes."
    )


def _memory(panel: Panel, few: list[str], reference: str) -> list[str]:
    parts = {name: costs_of(panel, key) for key, name in _PARTS.items()}
    total = costs_of(panel, "train_live_bytes")
    if not all(reference in part for part in parts.values()):
        return []
    words = [f"{sized(part[reference])} of {name}" for name, part in parts.items()]
    gone = parts["activations and workspace"][reference] < GONE * total[reference]
    where = " (it comes in the optimizer's step, when the activations are gone)" if gone else ""
    sentences = [
        f"Memory: at its peak a training step of {reference} holds {sized(total[reference])}: {joined(words)}{where}. "
        "A frozen backbone saves gradients and optimizer state. It never saves the weights, which have to be there, "
        "nor the activations that the gradient of its own parameters is computed from."
    ]
    kept = {m: (parts["weights"][m], parts["activations and workspace"][m], total[m]) for m in few if m in total}
    if kept:
        most = max(kept, key=lambda method: sum(kept[method][:2]) / kept[method][2])
        weights, activations, whole = kept[most]
        sentences.append(
            f"Of the {sized(whole)} of {most}, {weights / whole:.0%} are weights and {activations / whole:.0%} "
            "activations. Activations grow with batch and length, weights do not: the larger the batch, the smaller "
            "the share of the memory that can be saved."
        )
    return sentences


def _backward(panel: Panel, few: list[str], reference: str, ratios: Mapping[str, float]) -> list[str]:
    train, infer = costs_of(panel, "train_flops_per_example"), costs_of(panel, "infer_flops_per_example")
    known = [method for method in few if method in ratios]
    if reference not in infer or not known:
        return []
    forward = infer[reference] / train[reference]
    most = max(known, key=lambda m: ratios[m])
    words = (
        f"Time: the forward pass alone is {forward:.0%} of the FLOPs of a training step of {reference}, and no method "
        f"saves it. {most} still computes {ratios[most]:.0%} of them: the gradient has to pass back through the frozen "
        "layers down to the lowest trained part. Only the gradients of the frozen weights themselves are saved."
    )
    return [words]


def _around(panel: Panel, few: list[str], reference: str) -> list[str]:
    """What the process holds beside live tensors."""
    resident, live = costs_of(panel, "resident_peak_bytes"), costs_of(panel, "train_live_bytes")
    known = [method for method in few if method in resident and method in live]
    if reference not in resident or not known:
        return []
    saved = max(resident[reference] - resident[method] for method in known)
    beside = min(resident[m] - live[m] for m in [*known, reference] if m in live)
    return [
        f"Allocator: the whole process of {reference} takes {sized(resident[reference])} at its peak, and at most "
        f"{sized(max(saved, 0.0))} less with the others. At least {sized(beside)} in each are no live tensors: "
        "libraries, and blocks that the allocator keeps for later."
    ]


def _table(panel: Panel, few: list[str], reference: str, ratios: Mapping[str, Mapping[str, float]]) -> Table:
    share = costs_of(panel, "stored_share")
    parts = [(name, costs_of(panel, key)) for key, name in _PARTS.items()]
    parts = [(name, part) for name, part in parts if part]
    heads = [Head("method", numeric=False), Head("stored (% of backbone)")]
    heads += [Head(f"{name} (% of {reference})", f"Over that of {reference}.") for name in ratios]
    heads += [Head(f"{name} (MB)", "At the peak of a training step.") for name, _ in parts if name != "gradients"]
    rows = []
    for method in [*few, reference]:
        row = [Cell(method, method), Cell(significant(100 * share[method]), share[method])]
        row += [_percent(of.get(method)) for of in ratios.values()]
        for name, part in parts:
            if name != "gradients":
                row.append(Cell(significant(part[method] / 1e6), part[method]) if method in part else NOTHING)
        rows.append(tuple(row))
    saved = {name: min(of[m] for m in few if m in of) for name, of in ratios.items() if any(m in of for m in few)}
    shown = joined([f"{1 - value:.0%} of the {name}" for name, value in saved.items()])
    reads = f"Each column is what a method takes; the most that any of them saves of {reference} is {shown}."
    return Table("savings", f"What training few parameters saves: {panel.name}", tuple(heads), tuple(rows), reads=reads)


def _percent(value: float | None) -> Cell:
    return NOTHING if value is None else Cell(f"{100 * value:.0f}", value)
