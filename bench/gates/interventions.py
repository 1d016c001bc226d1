"""Interventions on the gates of a trained model, without retraining.

An intervention is a table of values (examples, gates) that act in place of the learned ones. It is made from recorded
values alone, so that the same code serves every model and every form of gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class LearnedGates:
    """The learned gates of one run, from which interventions are made.

    Attributes:
        values: (examples, gates), the learned gates on the rows that will be scored.
        dev_means: (gates,), the learned gates' means on the dev rows, so that no test row influences them.
        layers: (gates,), each gate's layer.
        parts: (gates,), name of what each gate multiplies.
        others: task -> (gates,), the means of the same gates in the run with the same method and seed on that task.
    """

    values: Values
    dev_means: Values
    layers: Sequence[int]
    parts: Sequence[str]
    others: dict[str, Values]


def learned(recorded: LearnedGates, generator: np.random.Generator) -> Values:
    """The learned values: the reference of every comparison."""
    return recorded.values


def all_open(recorded: LearnedGates, generator: np.random.Generator) -> Values:
    """Sets every gate to 1."""
    return np.ones_like(recorded.values)


def all_half(recorded: LearnedGates, generator: np.random.Generator) -> Values:
    """Sets every gate to 0.5, where sigmoid gates start."""
    return np.full_like(recorded.values, 0.5)


def own_mean(recorded: LearnedGates, generator: np.random.Generator) -> Values:
    """Sets each gate to its mean over the dev rows, so that nothing depends on the example."""
    return np.tile(recorded.dev_means, (len(recorded.values), 1))


def task_mean(recorded: LearnedGates, generator: np.random.Generator) -> Values:
    """Sets every gate to the mean over all gates, so that nothing depends on layer or part either."""
    return np.full_like(recorded.values, recorded.dev_means.mean())


def shuffled_examples(recorded: LearnedGates, generator: np.random.Generator) -> Values:
    """Gives each example the gates of another example."""
    return np.take(recorded.values, generator.permutation(len(recorded.values)), axis=0)


def shuffled_layers(recorded: LearnedGates, generator: np.random.Generator) -> Values:
    """Exchanges the gates of each part among the layers."""
    values: Values = recorded.values.copy()
    parts = np.asarray(recorded.parts)
    for part in sorted(set(recorded.parts)):
        columns = np.flatnonzero(parts == part)
        values[:, columns] = recorded.values[:, generator.permutation(columns)]
    return values


def inverted(recorded: LearnedGates, generator: np.random.Generator) -> Values:
    """Replaces each gate by one minus its value."""
    return np.subtract(1.0, recorded.values)


Intervention = Callable[[LearnedGates, np.random.Generator], Values]

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
"""Name -> the function that makes its values."""


def tables(recorded: LearnedGates, generator: np.random.Generator) -> dict[str, Values]:
    """The values of every intervention, (examples, gates), by its name.

    Where there are runs on other tasks, one more sets each gate to its mean over these tasks.
    """
    values = {name: make(recorded, generator) for name, make in INTERVENTIONS.items()}
    if recorded.others:
        elsewhere = np.mean(list(recorded.others.values()), axis=0)
        values["another task's means"] = np.broadcast_to(elsewhere, recorded.values.shape).copy()
    return values
