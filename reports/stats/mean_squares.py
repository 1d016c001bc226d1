"""The analysis of variance of gate values, by task, seed within task, example within task, layer and part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Values = Sequence[Array]  # one array a task: (seeds, examples, layers, parts)
Weights = Sequence[Array]  # one array a task, of its runs: (seeds,), summing to 1

# The terms, in the order of a table. A term with a seed in it needs two seeds, with a task two tasks.
TERMS = (
    "task",
    "layer",
    "part",
    "layer:part",
    "task:layer",
    "task:part",
    "task:layer:part",
    "example",
    "example:gate",
    "seed",
    "seed:gate",
    "seed:example",
)
RUN_TERMS = ("seed", "seed:layer", "seed:part", "seed:layer:part")  # shared by all examples of a run


def mean_squares(
    values: Values, weights: Weights, within: Sequence[Mapping[str, float]] | None = None
) -> dict[str, float]:
    """The mean square of each term (sum of squares over the sum of weights), in the order of `TERMS`.

    The mean squares sum to the variance. With a single task (or seed) the terms that name it are left out.

    Args:
        values: of each task (seeds, examples, layers, parts). Tasks weigh the same.
        weights: of each task's runs (seeds,), summing to 1.
        within: the result of `within_task` for each task; None computes it.
    """
    tasks = len(values)
    if within is None:
        within = [within_task(one, weight) for one, weight in zip(values, weights, strict=True)]
    pairs = zip(values, weights, strict=True)
    means = np.stack([np.tensordot(weight, one.mean(axis=1), axes=1) for one, weight in pairs])
    common, by_task = _gate_terms(means.mean(axis=0)), [_gate_terms(gate) for gate in means]
    terms = {"task": float(means.mean(axis=(1, 2)).var()), **common}
    for term in common:
        terms[f"task:{term}"] = float(np.mean([gate[term] for gate in by_task])) - common[term]
    for term in within[0]:
        terms[term] = float(np.mean([one[term] for one in within]))
    terms["seed:gate"] = sum(terms[f"seed:{gate}"] for gate in common)
    absent = {term for term in TERMS if term.startswith("task") and tasks == 1}
    absent |= {term for term in TERMS if term.startswith("seed") and len(values[0]) == 1}
    return {term: max(0.0, terms[term]) for term in TERMS if term not in absent}


def within_task(values: Array, weights: Array) -> dict[str, float]:
    """The mean squares of the terms within one task: seed, example, and their interactions with the gate.

    Args:
        values: (seeds, examples, layers, parts).
        weights: (seeds,), summing to 1.

    Returns:
        Term -> mean square. `seed:example all gates` is the part of `seed:example` that all gates share.
    """
    runs = values.mean(axis=1)  # (seeds, layers, parts)
    gates = _gate_terms(np.tensordot(weights, runs, axes=1))
    examples = np.tensordot(weights, values, axes=1)  # (examples, layers, parts)
    centre = float(examples.mean())
    both = (values.mean(axis=(2, 3)) - centre) ** 2  # (seeds, examples)
    seed = float(weights @ (runs.mean(axis=(1, 2)) - centre) ** 2)
    example = float(examples.mean(axis=(1, 2)).var())
    terms = {
        "seed": seed,
        "example": example,
        "example:gate": float(examples.var()) - example - sum(gates.values()),
    }
    by_run = [_gate_terms(run) for run in runs]
    for term, of_mean in gates.items():
        terms[f"seed:{term}"] = float(weights @ [run[term] for run in by_run]) - of_mean
    total = float(weights @ ((values - centre) ** 2).mean(axis=(1, 2, 3)))
    terms["seed:example"] = total - sum(terms.values()) - sum(gates.values())
    terms["seed:example all gates"] = float(weights @ both.mean(axis=1)) - seed - example
    return terms


def _gate_terms(means: Array) -> dict[str, float]:
    """The mean squares of layer, part and their interaction in a table of gate means, (layers, parts).

    >>> _gate_terms(np.array([[0.0, 0.0], [1.0, 1.0]]))  # the layer decides everything
    {'layer': 0.25, 'part': 0.0, 'layer:part': 0.0}
    """
    layer, part = float(means.mean(axis=1).var()), float(means.mean(axis=0).var())
    return {"layer": layer, "part": part, "layer:part": float(means.var()) - layer - part}
