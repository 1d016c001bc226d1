"""Recorded gate values as one dense array for each task, checked to be complete, raw or with length held constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

FACTORS = ("task", "seed", "layer", "part", "example")
KNOTS = 5
EXAMPLES_PER_KNOT = 20


@dataclass(frozen=True, kw_only=True)
class GateValues:
    """The gate values of finished runs.

    Attributes:
        tasks: their names.
        values: for each task (seeds, examples, layers, parts).
        lengths: for each task (examples,), in tokens; None if not recorded.
    """

    tasks: tuple[str, ...]
    values: tuple[NDArray[np.float64], ...]
    lengths: tuple[NDArray[np.float64], ...] | None

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> GateValues:
        """Makes it from a long frame with the columns value, task, seed, layer, part, example and maybe length.

        The same value of `example` means the same row in every run of a task; other tasks may use it for another row.

        Raises:
            ValueError: a column is missing, a value is absent or given twice, or a run lacks a gate or an example
                that another run of the same task has.
        """
        missing = {"value", *FACTORS} - set(frame.columns)
        if missing:
            raise ValueError(f"gate values lack the columns {', '.join(sorted(missing))}")
        if frame.empty or frame["value"].isna().any():
            raise ValueError("gate values are empty or hold an absent value")
        layers, parts = (np.unique(frame[name]) for name in ("layer", "part"))
        tasks, values, lengths = [], [], []
        for task, rows in frame.groupby("task", sort=True):
            ordered = rows.sort_values(["seed", "example", "layer", "part"], kind="stable")
            shape = (rows["seed"].nunique(), rows["example"].nunique(), len(layers), len(parts))
            twice = rows.duplicated(["seed", "example", "layer", "part"]).any()
            if twice or len(rows) != np.prod(shape):
                raise ValueError(
                    f"task {task}: {len(rows)} gate values{', some given twice,' if twice else ''} where"
                    f" {shape[0]} seeds by {shape[1]} examples by {shape[2]} layers by {shape[3]} parts need"
                    f" {np.prod(shape)}: take rows that all runs have (the test rows), gates of one method"
                )
            tasks.append(str(task))
            values.append(ordered["value"].to_numpy(dtype=np.float64).reshape(shape))
            if "length" in frame.columns:
                measured = ordered["length"].to_numpy(dtype=np.float64).reshape(shape)
                if np.isnan(measured).any() or (measured != measured[:1, :, :1, :1]).any():
                    raise ValueError(f"task {task}: an example's length is absent or not the same")
                lengths.append(measured[0, :, 0, 0])
        return cls(tasks=tuple(tasks), values=tuple(values), lengths=tuple(lengths) if lengths else None)

    def length_overlap(self) -> float | None:
        """The share of examples whose length lies within the range of every task; tasks weigh the same."""
        if self.lengths is None:
            return None
        low, high = max(x.min() for x in self.lengths), min(x.max() for x in self.lengths)
        return float(np.mean([((x >= low) & (x <= high)).mean() for x in self.lengths]))

    def at_equal_length(self) -> tuple[NDArray[np.float64], ...] | None:
        """The values with the examples' length held constant; None without lengths.

        Each gate of each run is regressed on length by a separate cubic spline, since every run learns another gate.
        An example keeps its deviation from the curve, scaled up for the degrees of freedom that the fit used. The
        mean of the run becomes the mean of the curve over one common distribution of lengths: those of all tasks,
        tasks weighing the same. Outside the lengths of its task a curve keeps its end value.
        """
        if self.lengths is None:
            return None
        adjusted = []
        for values, length in zip(self.values, self.lengths, strict=True):
            seeds, examples, *gates = values.shape
            basis = _spline(length, length)
            target = np.mean([_spline(length, other).mean(axis=0) for other in self.lengths], axis=0)
            flat = values.transpose(1, 0, 2, 3).reshape(examples, -1)  # (examples, seeds * gates)
            coefficients, _, rank, _ = np.linalg.lstsq(basis, flat)
            scale = np.sqrt((examples - 1) / (examples - rank)) if examples > rank else 0.0
            constant = (flat - basis @ coefficients) * scale + target @ coefficients
            adjusted.append(constant.reshape(examples, seeds, *gates).transpose(1, 0, 2, 3))
        return tuple(adjusted)


def _spline(fitted: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A cubic B-spline basis at the lengths `at`, (len(at), columns), whose rows sum to 1.

    Knots are at quantiles of the lengths `fitted`; with few distinct lengths the basis is linear.
    """
    from sklearn.preprocessing import SplineTransformer

    count = int(np.clip(len(fitted) // EXAMPLES_PER_KNOT, 2, KNOTS))
    knots = np.unique(np.quantile(fitted, np.linspace(0, 1, count)))
    if len(knots) < 2:  # one length only: nothing to hold constant
        return np.ones((len(at), 1))
    degree = 3 if len(np.unique(fitted)) > len(knots) + 2 else 1
    transform = SplineTransformer(degree=degree, knots=knots[:, None], extrapolation="constant")
    basis: NDArray[np.float64] = transform.fit(fitted[:, None]).transform(at[:, None])
    return basis
