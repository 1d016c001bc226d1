"""The setting of a comparison as a table with readable names."""

from __future__ import annotations

from typing import Any

from bench.records.spec import Protocol, option_of
from reports.frame.panels import Panel
from reports.tables.notes import joined
from reports.tables.table import Cell, Head, Table

_HEADS = (
    Head("setting", "In the words of the option's description.", numeric=False),
    Head("here", "The same for every method.", numeric=False),
    Head("option", "Of bench compare; the same name is a key of its config file.", numeric=False),
)


def settings_table(panel: Panel, protocol: Protocol | None) -> Table:
    """What all runs of a panel share: model, rows, tasks, seeds, and every field of the protocol.

    Args:
        panel: of runs of one protocol.
        protocol: theirs; None: it is not known.
    """
    counted = [("Pretrained model", panel.fixed.get("model"), "model"), ("Training rows", panel.fixed.get("k"), "k")]
    rows = [(name, value, option_of(field)) for name, value, field in counted if value]
    rows.append((f"{panel.by.capitalize()}s" if panel.by != "k" else "Training rows", joined(panel.columns), ""))
    if "task" in panel.fixed:
        rows.append(("Task", panel.fixed["task"], option_of("tasks")))
    rows.append(("Seeds of each method, task and number of rows", str(panel.seeds), option_of("seeds")))
    changed = [0, 0]
    for name, field in Protocol.model_fields.items() if protocol is not None else ():
        value = getattr(protocol, name)
        label, words = _described(field.description or name, value)
        changed[0] += value != field.default
        changed[1] += 1
        rows.append((label, words, option_of(name)))
    reads = "Every method was trained and scored under these settings"
    reads += f"; {changed[0]} of {changed[1]} are not at their defaults." if changed[1] else "."
    cells = tuple((Cell(name), Cell(str(value)), Cell(option)) for name, value, option in rows)
    return Table("settings", f"Settings: {panel.name}", _HEADS, cells, reads=reads)


def _described(description: str, value: Any) -> tuple[str, str]:
    """A setting's name and its value in words, out of the field's description.

    The description is `what it is; value: what that value means`, with as many values as have a meaning of their own.

    >>> _described("Norm that the gradient is clipped to; none: it is never clipped.", None)
    ('Norm that the gradient is clipped to', 'none: it is never clipped')
    >>> _described("Examples in a training step.", 16)
    ('Examples in a training step', '16')
    """
    label, *meanings = description.strip().rstrip(".").split("; ")
    told = "none" if value is None else str(value)
    for meaning in meanings:
        if meaning.partition(": ")[0] == told:
            return label, meaning
    return label, f"{value:g}" if isinstance(value, float) else told
