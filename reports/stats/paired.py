"""The interval of a difference that is paired over examples and runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.stats.intervals import LEVEL, Interval


def paired_interval(differences: NDArray[np.float64], *, level: float = LEVEL) -> Interval | None:
    """A t interval of the mean difference; runs and examples are both samples, every run sees the same examples.

    The variance of the mean is that of the runs' means over their number, plus that of the examples' means
    over theirs (two-way crossed, Cornfield and Tukey, Annals of Mathematical Statistics 27, 1956); degrees of
    freedom by Satterthwaite. What runs and examples do together counts twice. Measured with planted runs, 60
    examples and noise, four mixtures of them, all normal, 3000 draws each: 95% intervals cover 92 to 98% at 2 runs,
    93 to 98% at 3, 94 to 98% at 5. Where 9 of 10 examples do not change at all they cover 87 to 88% (2 and 3 runs,
    60 examples): the few that change are then the sample.

    Args:
        differences: (runs, examples), with less without.
        level: of the interval.

    Returns:
        None with fewer than two runs or examples, and where no difference differs from another.
    """
    runs, examples = differences.shape
    if min(runs, examples) < 2:
        return None
    of_runs = float(differences.mean(axis=1).var(ddof=1)) / runs
    of_examples = float(differences.mean(axis=0).var(ddof=1)) / examples
    centre, variance = float(differences.mean()), of_runs + of_examples
    if variance == 0:
        return None
    freedom = variance**2 / (of_runs**2 / (runs - 1) + of_examples**2 / (examples - 1))
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    return Interval(centre - half, centre + half)
