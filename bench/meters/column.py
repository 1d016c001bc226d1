"""What is said of a figure: label, unit, formula, meter, known error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["score", "parameters", "effective", "flops", "memory", "time", "energy", "index"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure.

    Attributes:
        key: its name in records, frames and CSV; the unit is its ending.
        label: what tables call it.
        unit: of the figure as recorded; empty for a pure number.
        better: whether more or less of it is better; None if neither.
        says: what it is, in one sentence.
        formula: how it is computed.
        meter: what measures it.
        error: what is known to be wrong or missing in it.
        estimated: it is no measurement but a model's guess, and must not rank methods.
    """

    key: str
    label: str
    group: Group
    says: str
    formula: str
    meter: str
    error: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = "lower"
    estimated: bool = False


GROUPS: dict[Group, str] = {
    "score": "Scores",
    "parameters": "Parameters",
    "effective": "Effective parameters",
    "flops": "FLOPs",
    "memory": "Memory",
    "time": "Time",
    "energy": "Energy",
    "index": "Composite indices",
}
