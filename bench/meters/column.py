"""A column: the declaration of one figure, with its label, unit, formula, meter and known error.

A meter declares its columns in its own file. Tables, footnotes, the page's hover texts, `bench report --columns` and
docs/definitions.md read these declarations and say nothing of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["train", "infer"]
"""A phase of a run that a clock covers: the training steps, or the forward passes over the test rows."""

Home = Literal["costs", "result", "effective", "profile", "report"]
"""Where a figure stands. costs: among the figures of a run's costs, where its meter puts it. result, effective: a field
of the record that the run itself fills. profile: a model's profile. report: nowhere, the report computes it."""

GROUPS: dict[str, str] = {
    "score": "Scores",
    "parameters": "Parameters",
    "effective": "Effective parameters",
    "flops": "FLOPs",
    "memory": "Memory",
    "time": "Time",
    "energy": "Energy",
    "tuning": "Cost of tuning",
    "other": "Other figures",
    "index": "Composite indices",
}
"""Group of columns -> its title, in the order of tables and documents."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """The declaration of one figure.

    Attributes:
        key: its name in records, data frames and CSV files: lower case, the unit last, such as `train_cuda_bytes`.
        label: its name in tables.
        group: a key of `GROUPS`; the figures of a group share a table.
        says: what it is, in one sentence.
        formula: how it is computed.
        meter: what measures it.
        error: what is known to be wrong with it or missing from it.
        unit: of the recorded figure, such as `s`, `J` or `bytes`; empty for a pure number.
        better: which way it counts for a method; None if it counts neither way.
        estimated: whether it is a guess of a model and no measurement. Such a figure is marked and ranks no method.
        ranks: whether methods may be ranked by it.
        phase: the phase of a run that it is of; None: of neither, or of both.
        follows: key of the figure that it follows from or is a share of. Where that one is absent, so is this one, and
            the reason is not said again.
        home: where the figure stands in records.

    Examples:
        >>> column = Column(
        ...     key="train_page_faults", label="page faults", group="memory", phase="train",
        ...     says="Page faults of the training steps.", formula="ru_minflt after less ru_minflt before",
        ...     meter="getrusage", error="counts the faults of all threads",
        ... )
        >>> column.better, column.unit, column.home
        ('lower', '', 'costs')
    """

    key: str
    label: str
    group: str
    says: str
    formula: str
    meter: str
    error: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = "lower"
    estimated: bool = False
    ranks: bool = True
    phase: Phase | None = None
    follows: str | None = None
    home: Home = "costs"

    @property
    def may_rank(self) -> bool:
        """Whether a ranking, a front or an answer may be made of this figure."""
        return self.ranks and not self.estimated and self.better is not None
