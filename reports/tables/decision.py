"""Which method to use: the best one, the methods that are shown to be as good, and the choice for a need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.frame.estimates import Estimate
from reports.frame.panels import Panel
from reports.stats.best import AgainstBest
from reports.tables.leader import Leader, common_means

MARKEDLY = 0.8
"""A method is named as a cheaper one, at a loss, if it costs at most this share of the one that is recommended."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A method beside the best one.

    Attributes:
        method: its label.
        score: its mean with its interval.
        gap: its mean less that of the best, over the runs that both have; 0 of the best itself.
        against: the same for the unknown best of all, with its error.
        always_below: whether it scored lower than the best in every run that both have.
        trains: whether it trains anything.
    """

    method: str
    score: Estimate
    gap: float
    against: AgainstBest
    always_below: bool = False
    trains: bool = True

    @property
    def worst(self) -> float | None:
        """How far it may fall short of the best, at 95% for all methods together; None: nothing is known."""
        return None if self.against.interval is None else -self.against.interval.low


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is recommended where a cost is to be small.

    Attributes:
        method: the recommended one.
        shown: whether it is shown to be as good as the best, less the margin.
        cheaper: the best of those that cost markedly less, of which that is not shown; None: there is none.
    """

    method: str
    shown: bool
    cheaper: str | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the scores of a panel allow to say.

    Attributes:
        best: the method of the highest mean score, over the runs that all have.
        standings: by method, the best first; methods without a score of every task are not among them.
        margin: the difference in score that makes none in practice.
        seeds: how many there are.
        claims: whether anything may be claimed: not at one seed, nor where no method has an interval.
    """

    best: str
    standings: Mapping[str, Standing]
    margin: float
    seeds: int
    claims: bool

    @property
    def as_good(self) -> tuple[str, ...]:
        """The methods that are shown to be as good as the best, less the margin."""
        return tuple(m for m, one in self.standings.items() if self.claims and one.against.as_good)

    @property
    def worse(self) -> tuple[str, ...]:
        """The methods that another one is shown to beat, and by what may be more than the margin."""
        return tuple(m for m, one in self.standings.items() if self.claims and one.against.worse and m != self.best)

    @property
    def may_be_best(self) -> tuple[str, ...]:
        """The methods, without the best by its mean, that may be the best one: the seeds do not rule it out."""
        return tuple(
            m for m, one in self.standings.items() if m != self.best and one.against.may_be_best and m not in self.worse
        )

    def choose(self, costs: Mapping[str, float]) -> Choice | None:
        """The method to use where a cost is to be small.

        It is the cheapest of the methods that are shown to be as good as the best, less the margin. Where that is shown
        of none, it is the cheapest of those whose mean score is within the margin, unless one scored lower than the
        best in every run; failing these, the one of the highest mean score.

        Args:
            costs: by method; those that are missing are not chosen.

        Returns:
            None where no method with a score has that cost.
        """
        known = [method for method in self.standings if method in costs]
        if not known:
            return None
        shown = [method for method in known if method in self.as_good]
        near = [m for m in known if self.standings[m].gap >= -self.margin and not self.standings[m].always_below]
        able = shown or [m for m in near if m not in self.worse] or known[:1]
        method = min(able, key=lambda name: costs[name])
        less = [m for m in known if costs[m] <= MARKEDLY * costs[method] and self.standings[m].trains]
        return Choice(method=method, shown=bool(shown), cheaper=less[0] if less else None)


def decide(panel: Panel, best: Leader | None, margin: float) -> Decision | None:
    """What the panel's scores say of its first place, all tasks together if there are several.

    Args:
        panel: whose methods are compared.
        best: its `leader`.
        margin: the difference in score that makes none in practice.

    Returns:
        None where no method has a score of every task.
    """
    place = panel.places[0]
    scored = [method for method in panel.methods if (method, place) in panel.scores]
    if not scored:
        return None
    against = panel.against_best(place, margin)
    means, _ = common_means(panel, scored)
    ranked: Sequence[str] = sorted(scored, key=lambda m: (-means.get(m, panel.scores[m, place].mean), m))
    first = ranked[0] if best is None else best.method
    top = means.get(first, panel.scores[first, place].mean)
    gaps = {m: means.get(m, panel.scores[m, place].mean) - top for m in ranked}
    if best is not None:
        gaps |= {method: gap for method, (gap, _) in best.gaps.items()}
    ranked = [first, *(method for method in ranked if method != first)]
    standings = {
        m: Standing(
            method=m,
            score=panel.scores[m, place],
            gap=0.0 if m == first else gaps[m],
            against=against[m],
            always_below=best is not None and m in best.always_below,
            trains=m not in panel.still,
        )
        for m in ranked
    }
    return Decision(best=first, standings=standings, margin=margin, seeds=panel.seeds, claims=best is not None)
