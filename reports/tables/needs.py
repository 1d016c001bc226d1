"""What a reader may have to do without paying much, and what that costs with each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.columns.numerals import scale_of, significant, written
from reports.frame.fronts import front_keys
from reports.frame.panels import Panel

COPIES = 1000
"""Copies of a fine-tuned model that the size is given for; a reader of the page may change it."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that is to cost little.

    Attributes:
        key: a short name of it.
        must: what the reader must do, such as `train in little memory`.
        keys: figures that it may be judged by; the first one that was measured is.
        of: what one figure is of, such as ` in a training step`.
        without: what to say where none was measured.
        limit: what a reader limits who sets a limit to it.
    """

    key: str
    must: str
    keys: tuple[str, ...]
    of: str = ""
    without: str = "not measured here"
    limit: str = ""


# "tune little" is one more entry here, as soon as there is a figure of how wide the range of good settings is.
NEEDS = (
    Need(
        key="store",
        must="store many copies",
        keys=("stored_bytes", "stored_parameters"),
        of=" a copy",
        limit="stored, one copy",
    ),
    Need(
        key="memory",
        must="train in little memory",
        keys=("train_live_bytes",),
        of=" in a training step",
        limit="memory of a training step",
    ),
    Need(
        key="fast",
        must="answer fast",
        keys=("infer_merged_ratio", "infer_ratio"),
        of=" of the bare model's time",
        without="not measured here: bench profile times the methods against each other",
        limit="time of an answer",
    ),
    Need(
        key="energy",
        must="spend little energy",
        keys=("train_energy_measured_joules", "train_flops_per_example"),
        of=" for a run's training",
    ),
    Need(
        key="time",
        must="train in little time",
        keys=("train_step_ratio",),
        of=" of the time of full's step",
        without="not measured here: bench profile times the methods against each other",
    ),
)

SUSPECT = "the times are suspect: measure again with bench profile"
"""Stands where time ratios are of a profile that failed its own check: nothing is recommended by them."""


def measured_by(panel: Panel, need: Need) -> str | None:
    """The figure that a need is judged by; None where none was measured. An estimate never is one."""
    allowed = front_keys(panel)
    return next((key for key in need.keys if key in allowed), None)


def suspect(panel: Panel, key: str) -> bool:
    """Whether a figure is of a profile that failed its own check."""
    return f"{key}_low" in panel.ok and bool(panel.ok["profile_suspect"].notna().any())


def costs_of(panel: Panel, key: str) -> dict[str, float]:
    """A cost by method, where it was measured, as the mean over the panel's first place."""
    place = panel.places[0]
    pairs = ((method, panel.costs.get((method, place), {}).get(key)) for method in panel.methods)
    return {method: estimate.mean for method, estimate in pairs if estimate is not None}


def milliseconds(panel: Panel, key: str, method: str) -> float | None:
    """The median time behind a ratio of a profile; None of any other figure."""
    name = f"{key}_p50_ms"
    if name not in panel.ok:
        return None
    known = panel.ok[panel.ok["method"] == method][name].dropna()
    return float(known.iloc[0]) if len(known) else None


def price(panel: Panel, need: Need, key: str, method: str, *, copies: int = COPIES) -> str:
    """What a method costs, in units that readers know: `904 kB a copy, 904 MB for 1,000 copies`."""
    value = costs_of(panel, key)[method]
    if key == "stored_bytes":
        return f"{sized(value)} a copy, {sized(value * copies)} for {copies:,} copies"
    if key == "stored_parameters":
        return f"{value:,.0f} parameters a copy"
    if (ms := milliseconds(panel, key, method)) is not None:
        return f"{significant(ms)} ms a batch of {_shape(panel)} ({value:.2f}{need.of})"
    if key == "train_flops_per_example":
        column = panel.definitions[key]
        scale = scale_of(column, [value])
        return f"{written(column, value, scale)} {scale.unit} a training example; joules were not measured"
    column = panel.definitions[key]
    scale = scale_of(column, [value])
    return f"{written(column, value, scale)} {scale.unit}".rstrip() + need.of


def sized(count: float) -> str:
    """Bytes in a unit that keeps one to three digits before the point.

    >>> sized(904_000), sized(0), sized(22_565_376 * 4)
    ('904 kB', '0 B', '90.3 MB')
    """
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count:.0f} B"


def _shape(panel: Panel) -> str:
    """`16 x 32 tokens`: the batch that the panel's profile timed."""
    shapes: Sequence[str] = list(panel.ok["profile_shape"].dropna().unique()) if "profile_shape" in panel.ok else []
    return shapes[0] if len(shapes) == 1 else "the profile"
