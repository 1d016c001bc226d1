"""What buys most: for each cost, the cheapest method that may be as good as the best one."""

from __future__ import annotations

from reports.columns.numerals import scale_of, signed
from reports.frame.frame import PROFILED
from reports.frame.fronts import front_keys, front_members
from reports.frame.panels import Panel
from reports.tables.notes import joined
from reports.tables.summary import Leader, column_words, no_leader
from reports.tables.table import Cell, Head, Table, figure_cell

QUESTIONS = {
    "stored_bytes": ("bytes stored", ""),
    "stored_parameters": ("parameters stored", ""),
    "train_flops_per_example": ("FLOPs of training", " an example"),
    "train_live_bytes": ("memory of training", ""),
    "train_step_ratio": ("seconds of training", " of full's step"),
    "infer_ratio": ("seconds of inference, unmerged", " of the bare model's pass"),
    "infer_merged_ratio": ("seconds of inference, merged", " of the bare model's pass"),
    "train_energy_measured_joules": ("joules of training", ""),
}
"""Costs that the summary answers for: in words, and what a figure of it is of."""

SUSPECT = "profile suspect: measure again with bench profile"
"""Stands where time ratios are of a profile that failed its own check: nothing is recommended by them."""

_HEADS = (
    Head("cheapest by", "The cost that is to be least. Estimated costs are not offered.", numeric=False),
    Head(
        "method that may equal the best score",
        "Of the best method (of the highest mean score, over the runs that all have) and those whose difference to it "
        "noise can explain (the test of the table of differences, 5% for all pairs of methods together) and that did "
        "not score lower than it in every single run, the one of least mean cost.",
        numeric=False,
    ),
    Head("its cost", "Mean over runs, its 95% interval if it varies; times are ratios of a profile.", numeric=False),
    Head("its score less the best", "Difference of the means over the same seeds and tasks, with that interval."),
    Head(
        "no other is both better and cheaper",
        "The Pareto front, cheapest first: no other method has a higher mean score at no higher mean cost. "
        "Of the means alone: neighbours on it may differ by noise.",
        numeric=False,
    ),
)


def answers(panel: Panel, best: Leader | None) -> Table:
    """For each cost the cheapest method that the seeds cannot tell from the best, and the front.

    Args:
        panel: whose methods are named.
        best: the panel's `leader`.
    """
    rows = []
    suspect = "profile_suspect" in panel.ok and bool(panel.ok["profile_suspect"].notna().any())
    for key, (question, _) in QUESTIONS.items():
        if key not in panel.figures and key == "stored_bytes":
            continue
        if key == "stored_parameters" and "stored_bytes" in panel.figures:
            continue
        if key in PROFILED and key in panel.figures and suspect:
            rows.append((Cell(question), Cell(SUSPECT), Cell("-"), Cell("-"), Cell("-")))
            continue
        members = front_members(panel, key, panel.places[0]) if key in front_keys(panel) else []
        if members:
            rows.append((Cell(question), *_cheapest(panel, key, best), Cell(", ".join(members))))
        else:
            why = "no method has a score of every task" if key in panel.figures else "not measured"
            rows.append((Cell(question), Cell(why), Cell("-"), Cell("-"), Cell("-")))
    title = f"What buys most, {panel.title}" + ("" if panel.sums_up else f", {column_words(panel)}")
    return Table("answers", title, _HEADS, tuple(rows), _notes(best))


def _cheapest(panel: Panel, key: str, best: Leader | None) -> tuple[Cell, Cell, Cell]:
    """Method, cost and gap to the best score."""
    if best is None:
        return Cell(no_leader(panel)), Cell("-"), Cell("-")
    costs = {
        method: panel.costs[method, panel.places[0]][key]
        for method in best.advisable
        if key in panel.costs.get((method, panel.places[0]), {})
    }
    if not costs:
        return Cell("not measured for these"), Cell("-"), Cell("-")
    cheapest = min(costs, key=lambda method: costs[method].mean)
    scale = scale_of(panel.definitions[key], [costs[cheapest].mean])
    cost = figure_cell(panel.definitions[key], [costs[cheapest]], scale, interval=True).text
    cost = f"{cost} {scale.unit}".strip() + QUESTIONS[key][1]
    if cheapest == best.method:
        return Cell(cheapest), Cell(cost), Cell("it is the best")
    gap, (low, high) = best.gaps[cheapest]
    return Cell(cheapest), Cell(cost), Cell(f"{signed(gap)} [{signed(low)}, {signed(high)}]")


def _tied(best: Leader) -> str:
    return f" (exactly tied with {joined(best.tied)})" if best.tied else ""


def _of_shared(best: Leader) -> str:
    return f" over the {best.shared} runs that all have" if best.shared else ""


def _notes(best: Leader | None) -> tuple[str, ...]:
    if best is None:
        return ()
    return (
        f"The best: {best.method}, by its mean score{_of_shared(best)}{_tied(best)}. A method that may equal it "
        "has a difference that noise over seeds can explain, and is not below it in every run; where the interval "
        "reaches far below 0 the seeds cannot exclude a large loss either.",
    )
