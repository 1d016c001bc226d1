"""The best method of a panel, and those that the seeds cannot tell from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reports.frame.panels import Panel
from reports.stats.intervals import Interval, mean

if TYPE_CHECKING:
    from reports.stats.comparisons import Comparison


@dataclass(frozen=True)
class Leader:
    """The best method, and those that the seeds cannot tell from it.

    Attributes:
        method: of the methods that no other one beats by more than noise, the one of the highest mean score over the
            runs (seed and task) that all candidates have. Means over different runs compare nothing.
        mean: that mean.
        gaps: the other methods' mean scores less its own, over common runs, with intervals at 95% for all
            pairs of methods together: the leader is chosen by the same scores.
        untested: methods without an interval: too few runs.
        differing: those of `gaps` that are worse by more than noise.
        always_below: those of `gaps` that scored lower in every run that both have.
        tied: methods whose mean score is exactly the leader's.
        shared: how many runs of a method all candidates have, where some have more; None where all have the same.
        unlike: methods with a higher mean score, of other runs, that are no better over the same runs.
    """

    method: str
    mean: float
    gaps: Mapping[str, tuple[float, Interval]]
    untested: tuple[str, ...]
    differing: frozenset[str] = frozenset()
    always_below: frozenset[str] = frozenset()
    tied: tuple[str, ...] = ()
    shared: int | None = None
    unlike: tuple[str, ...] = ()

    @property
    def close(self) -> tuple[str, ...]:
        """Methods whose difference to the leader noise can explain; the leader is not among them."""
        return tuple(method for method in self.gaps if method not in self.differing)


def leader(panel: Panel) -> Leader | None:
    """The best of the panel's methods with an interval; None where there is none, see `no_leader`.

    Differences, intervals and verdicts are those of `Panel.comparisons`, which the tables show too.
    """
    place = panel.places[0]
    scored = [m for m in panel.methods if (m, place) in panel.scores]
    candidates = [m for m in scored if panel.scores[m, place].interval is not None]
    pairs = panel.comparisons[place]
    unbeaten = [m for m in candidates if not any(_worse(pairs[m, other]) for other in candidates if other != m)]
    if not unbeaten or panel.seeds < 2:
        return None
    means, shared = common_means(panel, candidates)
    ranked = sorted(candidates, key=lambda m: (-means[m], m))
    best = next(m for m in ranked if m in unbeaten)
    against = {m: pairs[m, best] for m in ranked if m != best}
    gaps = {
        method: (one.difference, one.interval)
        for method, one in against.items()
        if one.difference is not None and one.interval is not None
    }
    own = panel.scores[best, place].mean
    return Leader(
        method=best,
        mean=means[best],
        gaps=gaps,
        untested=tuple(method for method in scored if method != best and method not in gaps),
        differing=frozenset(method for method in gaps if _worse(against[method])),
        always_below=frozenset(method for method in gaps if against[method].always_below),
        tied=tuple(method for method in against if abs(means[method] - means[best]) < 1e-12),
        shared=shared,
        unlike=tuple(m for m in gaps if panel.scores[m, place].mean > own + 1e-12),
    )


def no_leader(panel: Panel) -> str:
    """Why there is no best method."""
    if panel.seeds < 2:
        return "no claim at one seed"
    if any(panel.scores[m, panel.places[0]].interval for m in panel.methods if (m, panel.places[0]) in panel.scores):
        return "no claim: each method loses to another over their common runs"
    return "no claim: too few runs for an interval"


def _worse(pair: Comparison) -> bool:
    """Whether the method is below the other one by more than noise."""
    return bool(pair.differs) and pair.difference is not None and pair.difference < 0


def common_means(panel: Panel, methods: Sequence[str]) -> tuple[dict[str, float], int | None]:
    """Each method's mean score over the runs that all of them have, and how many those are, if some have more.

    Where a column has no such run the means are of all runs, and the number is None.
    """
    place = panel.places[0]
    arrays = {m: panel.arrays[m] if panel.sums_up else panel.arrays[m][:, :1] for m in methods}
    here = np.stack([~np.isnan(array) for array in arrays.values()])
    common = here.all(axis=0)
    if (here == common).all() or not common.any(axis=0).all():
        return {m: panel.scores[m, place].mean for m in methods}, None
    means = {m: mean(np.where(common, array, np.nan)) for m, array in arrays.items()}
    return {m: value for m, value in means.items() if value is not None}, int(common.sum())
