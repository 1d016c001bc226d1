"""Interventions on a trained model's gates, without retraining.

Each is a table of values, one for every example and gate, that act in place of the learned ones. The
table is made from recorded values alone, so the same code serves every model and every form of gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """What interventions are made from.

    Attributes:
        values: (examples, gates), the learned gates on the rows that will be scored.
        dev_means: (gates,), the learned gates' means on the dev rows, so that no test row is looked at.
        layers: (gates,), each gate's layer.
        parts: (gates,), what each gates.
        others: task -> (gates,), the gates' means of the same method and seed on another task.
    """

    values: Values
    dev_means: Values
    layers: Sequence[int]
    parts: Sequence[str]
    others: dict[str, Values]


def learned(recorded: Recorded, generator: np.random.Generator) -> Values:
    """As they are: the reference of every comparison."""
    return recorded.values


def all_open(recorded: Recorded, generator: np.random.Generator) -> Values:
    """Every gate 1."""
    return np.ones_like(recorded.values)


def all_half(recorded: Recorded, generator: np.random.Generator) -> Values:
    """Every gate 0.5, where sigmoid gates start."""
    return np.full_like(recorded.values, 0.5)


def own_mean(recorded: Recorded, generator: np.random.Generator) -> Values:
    """Each gate its own mean over the dev rows: nothing depends on the example any more."""
    means: Values = np.broadcast_to(recorded.dev_means, recorded.values.shape).copy()
    return means


def task_mean(recorded: Recorded, generator: np.random.Generator) -> Values:
    """Every gate the mean over all gates: nothing depends on layer or part either."""
    return np.full_like(recorded.values, recorded.dev_means.mean())


def shuffled_examples(recorded: Recorded, generator: np.random.Generator) -> Values:
    """All gates of an example come from another example."""
    dealt: Values = recorded.values[generator.permutation(len(recorded.values))]
    return dealt


def shuffled_layers(recorded: Recorded, generator: np.random.Generator) -> Values:
    """Each part's gates are dealt to other layers."""
    values: Values = recorded.values.copy()
    parts = np.asarray(recorded.parts)
    for part in sorted(set(recorded.parts)):
        columns = np.flatnonzero(parts == part)
        values[:, columns] = recorded.values[:, generator.permutation(columns)]
    return values


def inverted(recorded: Recorded, generator: np.random.Generator) -> Values:
    """Each gate one minus itself."""
    opposite: Values = 1.0 - recorded.values
    return opposite


Intervention = Callable[[Recorded, np.random.Generator], Values]

INTERVENTIONS: dict[str, Intervention] = {
    "learned": learned,
    "all open": all_open,
    "all half": all_half,
    "own mean": own_mean,
    "task mean": task_mean,
    "shuffled over examples": shuffled_examples,
    "shuffled over layers": shuffled_layers,
    "inverted": inverted,
}
"""Name -> what makes the values; `removed` takes the parts out instead and has no values."""


def tables(recorded: Recorded, generator: np.random.Generator) -> dict[str, Values]:
    """Every intervention's values, and the gates' means on other tasks (their average) where these are known."""
    found = {name: make(recorded, generator) for name, make in INTERVENTIONS.items()}
    if recorded.others:
        elsewhere = np.mean(list(recorded.others.values()), axis=0)
        found["another task's means"] = np.broadcast_to(elsewhere, recorded.values.shape).copy()
    return found
