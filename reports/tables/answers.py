"""If you must: for each need the method to use, its price, and what it gives up against the best."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reports.frame.panels import Panel
from reports.tables.decision import Decision
from reports.tables.needs import NEEDS, SUSPECT, Need, costs_of, measured_by, price, suspect
from reports.tables.table import NOTHING, Cell, Head, Table


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What is said of one need; empty where nothing can be said, and then `why` says why.

    Attributes:
        must: what the reader must do.
        method: to use.
        score: its mean, and its interval.
        price: in units that readers know.
        bytes: of one copy, where the price is of stored bytes.
        gives_up: against the best method.
        sure: whether that is shown.
        cheaper: a method that costs markedly less, and gives up more; empty: there is none.
        cheaper_price: its price.
        cheaper_bytes: of a copy, as for `bytes`.
        cheaper_gives_up: against the best.
        why: there is no answer.
    """

    must: str
    method: str = ""
    score: str = ""
    price: str = ""
    bytes: float | None = None
    gives_up: str = ""
    sure: str = ""
    cheaper: str = ""
    cheaper_price: str = ""
    cheaper_bytes: float | None = None
    cheaper_gives_up: str = ""
    why: str = ""


_HEADS = (
    Head("if you must", "What is to cost little.", numeric=False),
    Head(
        "use",
        "The cheapest of the methods that are shown to be as good as the best, less the margin. Where that is shown of "
        "none: the cheapest of those whose mean score is within the margin of the best and that did not score lower "
        "than it in every run.",
        numeric=False,
    ),
    Head("score", "The mean over seeds and tasks, with its 95% interval."),
    Head("its price", "Mean over runs; times are of a profile, all methods taking turns.", numeric=False),
    Head("gives up", "The best mean score less its own; at most: at 95%, for all methods together.", numeric=False),
    Head("is that shown?", "Whether it is shown to be as good as the best, less the margin.", numeric=False),
    Head("cheaper, at a loss", "The best of those that cost at least a fifth less.", numeric=False),
)


def advice(panel: Panel, decision: Decision | None) -> list[Advice]:
    """What to use for each need, in the order of `NEEDS`."""
    return [_advice(panel, decision, need) for need in NEEDS]


def _advice(panel: Panel, decision: Decision | None, need: Need) -> Advice:
    key = measured_by(panel, need)
    if key is None:
        return Advice(must=need.must, why=need.without)
    if suspect(panel, key):
        return Advice(must=need.must, why=SUSPECT)
    costs = costs_of(panel, key)
    choice = None if decision is None else decision.choose(costs)
    if decision is None or choice is None:
        return Advice(must=need.must, why="no method has a score of every task and this figure")
    given = Advice(
        must=need.must,
        method=choice.method,
        score=score_words(decision, choice.method),
        price=price(panel, need, key, choice.method),
        bytes=costs[choice.method] if key == "stored_bytes" else None,
        gives_up=loss_words(decision, choice.method),
        sure=_sure_words(decision, shown=choice.shown),
    )
    if choice.cheaper is None:
        return given
    return replace(
        given,
        cheaper=choice.cheaper,
        cheaper_price=price(panel, need, key, choice.cheaper).partition("; ")[0],
        cheaper_bytes=costs[choice.cheaper] if key == "stored_bytes" else None,
        cheaper_gives_up=loss_words(decision, choice.cheaper),
    )


def score_words(decision: Decision, method: str) -> str:
    """`0.812 [0.780, 0.843]`."""
    score = decision.standings[method].score
    ends = f" [{score.interval.low:.3f}, {score.interval.high:.3f}]" if score.interval else ""
    return f"{score.mean:.3f}{ends}"


def loss_words(decision: Decision, method: str) -> str:
    """What a method gives up against the best: `0.009, at most 0.055`."""
    one = decision.standings[method]
    if method == decision.best:
        return "nothing: it is the best by its mean"
    loss = f"{max(0.0, -one.gap):.3f}"
    if not decision.claims or one.worst is None:
        return f"{loss} (too few runs to say how surely)"
    return f"{loss}, at most {max(one.worst, -one.gap):.3f}"


def _sure_words(decision: Decision, *, shown: bool) -> str:
    if shown:
        return f"shown: as good as the best, less {decision.margin:g}"
    return "not shown" if decision.claims else "not shown: too few runs"


def answers(panel: Panel, decision: Decision | None, given: list[Advice]) -> Table:
    """The advice as a table.

    Args:
        panel: whose methods are named.
        decision: of the panel.
        given: the panel's `advice`.
    """
    rows: list[tuple[Cell, ...]] = []
    for one in given:
        if not one.method:
            rows.append((Cell(one.must), NOTHING, NOTHING, Cell(one.why), NOTHING, NOTHING, NOTHING))
            continue
        less = f"{one.cheaper}: {one.cheaper_price}; gives up {one.cheaper_gives_up}" if one.cheaper else "-"
        texts = (one.method, one.score, one.price, one.gives_up, one.sure, less)
        rows.append((Cell(one.must), *map(Cell, texts)))
    best = "" if decision is None else f" Here the best by its mean is {decision.best}."
    reads = f"Each line is a need, with the cheapest method that need not cost much of the score.{best}"
    return Table("answers", f"If you must: {panel.name}", _HEADS, tuple(rows), reads=reads)
