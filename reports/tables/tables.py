"""Makes the tables of a panel: main table, scores, differences to the baseline, costs and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reports.columns.numerals import ABSENT, heading, p_value, scale_of, signed, written
from reports.frame.panels import OVERALL, Panel
from reports.tables.budget import budget
from reports.tables.notes import (
    INTERVALS,
    TESTS,
    absence_notes,
    difference_notes,
    energy_notes,
    joined,
    loss_notes,
    main_details,
    rank_notes,
    score_notes,
    setting_notes,
)
from reports.tables.table import (
    NOTHING,
    SHORT_HEADS,
    Cell,
    Head,
    Table,
    figure_cell,
    head_of,
    place_words,
    score_cell,
    score_head,
)

COMPACT = ("trained_parameters", "stored_parameters", "stored_share", "train_step_ratio", "train_time_s")
"""What the main table shows beside the scores unless columns are chosen."""

_COST_TABLES: dict[str, tuple[str, ...]] = {
    "parameters": ("parameters",),
    "effective": ("effective",),
    "flops": ("flops",),
    "memory": ("memory",),
    "time": ("time",),
    "energy": ("energy",),
    "other": ("other",),
}
_CAPTIONS = {
    "parameters": "Parameters, trained and stored",
    "effective": "Effective parameters",
    "flops": "FLOPs",
    "memory": "Memory",
    "time": "Time",
    "energy": "Energy",
    "other": "Other figures",
}


_METHOD = Head("method", "The method and the hyper-parameters that are not at their defaults.", numeric=False)


def tables(panel: Panel, columns: Sequence[str] | None = None) -> list[Table]:
    """All tables of a panel that have rows; the main table comes first."""
    all_tables = [main(panel, columns), accuracy(panel), differences(panel), *costs(panel), budget(panel)]
    return [table for table in all_tables if table.rows]


def main(panel: Panel, columns: Sequence[str] | None = None) -> Table:
    """Scores and costs in one compact table.

    Args:
        panel: whose methods are the rows.
        columns: keys of `reports.columns.document` to show; None: the usual few that were measured.
    """
    keys = [key for key in (COMPACT if columns is None else columns) if key in panel.figures]
    header = [_METHOD, *(score_head(panel, column) for column in panel.columns)]
    rows: list[list[Cell]] = []
    best = _best(panel)
    for method in panel.methods:
        rows.append([Cell(method, method)])
        rows[-1] += [score_cell(panel, method, place, strong=method in best.get(place, ())) for place in panel.columns]
    for key in keys:
        _add_figure(panel, key, header, rows, interval=False)
    notes, details = score_notes(panel), [*main_details(panel, keys), *loss_notes(panel)]
    reads = f"A row is a method; a higher score is better. {_highest(panel, best, panel.columns)}".strip()
    return _table("main", f"Scores and costs: {panel.name}", header, rows, notes, reads=reads, details=details)


def accuracy(panel: Panel) -> Table:
    """Scores with intervals, their mean over tasks, rank, and how they compare with the baseline."""
    header, best = [_METHOD], _best(panel)
    rows = [[Cell(method, method)] for method in panel.methods]
    for place in panel.places:
        header.append(score_head(panel, place))
        for row, method in zip(rows, panel.methods, strict=True):
            row.append(score_cell(panel, method, place, interval=True, strong=method in best.get(place, ())))
    if panel.ranks:
        header.append(Head("average rank", "1 is the best; over the seeds and tasks that every method finished."))
        for row, method in zip(rows, panel.methods, strict=True):
            rank = panel.ranks.get(method)
            row.append(NOTHING if rank is None else Cell(f"{rank:.2f}", rank))
    notes, details = [*score_notes(panel), *rank_notes(panel)], [INTERVALS] if panel.seeds > 1 else []
    reads = (
        "A score is a mean, and the 95% interval says where the mean of many more seeds lies. "
        f"{_highest(panel, best, panel.places)}"
    ).strip()
    return _table("scores", f"Scores: {panel.name}", header, rows, notes, reads=reads, details=details)


def differences(panel: Panel) -> Table:
    """Each method against the baseline, task by task and over all tasks; empty at one seed."""
    heads = [
        Head(panel.by, "Where the two were compared.", numeric=False),
        _METHOD,
        Head(f"difference to {panel.baseline}", "Mean of the paired differences over the same seeds."),
        Head("95% interval", "Of the difference; all intervals of one place hold together with 95%, see the note."),
        Head("p (all pairs)", "Of no difference, corrected for all pairs of methods in this place."),
        Head(
            "P(improvement)",
            "Probability that a run of the method beats a run of the baseline, with interval.",
        ),
        Head("detectable", "The true difference that this test would find four times in five."),
        Head("pairs", "Runs of both with the same seed and task."),
    ]
    rows = []
    for place in panel.places:
        for method, contrast in panel.contrasts[place].items():
            if contrast.difference is None or contrast.interval is None or contrast.p_adjusted is None:
                continue
            low, high = contrast.interval
            mark = "*" if contrast.differs else ""
            chance = contrast.improvement
            spread = contrast.improvement_interval
            detectable = contrast.detectable
            rows.append(
                [
                    Cell(place_words(place), place_words(place)),
                    Cell(method, method),
                    Cell(signed(contrast.difference) + mark, contrast.difference),
                    Cell(f"[{signed(low)}, {signed(high)}]", low),
                    Cell(p_value(contrast.p_adjusted), contrast.p_adjusted),
                    NOTHING
                    if chance is None
                    else Cell(f"{chance:.2f}{f' [{spread.low:.2f}, {spread.high:.2f}]' if spread else ''}", chance),
                    NOTHING if detectable is None else Cell(f"{detectable:.3f}", detectable),
                    Cell(str(contrast.pairs), contrast.pairs),
                ]
            )
    title = f"Differences to {panel.baseline}: {panel.name}"
    starred = sum(row[2].text.endswith("*") for row in rows)
    reads = (
        f"Above 0 a method scores higher than {panel.baseline}, below 0 lower; a star marks more than noise. "
        f"Here {starred or 'none'} of {len(rows)} differences {'has' if starred < 2 else 'have'} one."
    )
    notes = difference_notes(panel) if rows else []
    return _table("differences", title, heads, rows, notes, reads=reads, details=[TESTS])


def costs(panel: Panel) -> list[Table]:
    """What was measured of parameters, FLOPs and memory, time, energy: a table each."""
    cost_tables = []
    places = (OVERALL,) if panel.sums_up else panel.columns
    several = len(places) > 1
    for key, groups in _COST_TABLES.items():
        header = [_METHOD, *([Head(panel.by, "As in the scores' table.", numeric=False)] if several else [])]
        pairs = [(method, place) for method in panel.methods for place in places]
        rows = [[Cell(method, method), *([Cell(place, place)] if several else [])] for method, place in pairs]
        figures = [name for name in panel.figures if panel.definitions[name].group in groups]
        for name in figures:
            # A count that only the task decides has no meaningful mean over tasks: its range is shown.
            is_count = panel.sums_up and panel.definitions[name].group == "parameters"
            _add_figure(panel, name, header, rows, interval=True, pairs=None if is_count else pairs, each=is_count)
        if figures:
            notes = [_cost_note(panel), *(energy_notes(panel) if key == "energy" else [])]
            details = [*setting_notes(panel, figures), *absence_notes(panel, groups)]
            title, reads = f"{_CAPTIONS[key]}: {panel.name}", _extremes(panel, figures)
            cost_tables.append(_table(key, title, header, rows, notes, reads=reads, details=details))
    return cost_tables


def _cost_note(panel: Panel) -> str:
    over = "seeds and tasks" if panel.sums_up else "seeds"
    return (
        f"Means over {over} (counts that differ by task: from least to greatest); in brackets the 95% interval "
        f"where the figure varies, cut at 0. {ABSENT}: not measured."
    )


def _highest(panel: Panel, best: Mapping[str, frozenset[str]], places: Sequence[str]) -> str:
    """Which methods have the highest mean, and where: `unipelt everywhere`, `lora on trec and unipelt on rte`."""
    won: dict[str, list[str]] = {}
    for place in places:
        if place in best:
            won.setdefault(joined(sorted(best[place])), []).append(place_words(place))
    if not won or len(won) > 4:
        return ""
    if len(won) == 1 and len(places) > 1:
        return f"Here {next(iter(won))} has the highest mean everywhere."
    return f"Here the highest mean has {joined([f'{name} ({joined(where)})' for name, where in won.items()])}."


def _extremes(panel: Panel, keys: Sequence[str]) -> str:
    """How a table of costs is read, and which methods are at both ends of its first figure."""
    key, place = keys[0], panel.places[0]
    column = panel.definitions[key]
    known = {m: cost[key].mean for m in panel.methods if key in (cost := panel.costs.get((m, place), {}))}
    ways = {panel.definitions[name].better for name in keys}
    way = "Less is better." if ways == {"lower"} else "More is better." if ways == {"higher"} else ""
    start = f"A row is a method; a figure is its mean over runs. {way}".strip()
    if len(known) < 2 or len(set(known.values())) < 2:
        return start
    least, most = min(known, key=lambda m: known[m]), max(known, key=lambda m: known[m])
    scale = scale_of(column, known.values())
    unit = f" {scale.unit}".rstrip()
    low, high = written(column, known[least], scale), written(column, known[most], scale)
    return f"{start} Here {column.label} is from {low}{unit} ({least}) to {high}{unit} ({most})."


def _add_figure(
    panel: Panel,
    key: str,
    header: list[Head],
    rows: list[list[Cell]],
    *,
    interval: bool,
    pairs: Sequence[tuple[str, str]] | None = None,
    each: bool = False,
) -> None:
    """Appends one figure's heading and cells.

    Without pairs, a cell covers all of its method's columns: by their mean, or with `each` by their range.
    """
    column = panel.definitions[key]
    if pairs is not None:
        cells = [[panel.costs.get(pair, {}).get(key)] for pair in pairs]
    else:
        places = (OVERALL,) if panel.sums_up and not each else panel.columns
        cells = [[panel.costs.get((method, place), {}).get(key) for place in places] for method in panel.methods]
    measured = [[estimate for estimate in some if estimate] for some in cells]
    scale = scale_of(column, (estimate.mean for some in measured for estimate in some))
    header.append(replace(head_of(column, heading(column, scale)), short=SHORT_HEADS.get(key, "")))
    for row, estimates in zip(rows, measured, strict=True):
        row.append(figure_cell(column, estimates, scale, interval=interval))


def _best(panel: Panel) -> dict[str, frozenset[str]]:
    """The methods of the highest mean in each place, several if exactly tied; none at one seed or for one method."""
    best: dict[str, frozenset[str]] = {}
    for place in panel.places:
        ranked = [
            (est.mean, method) for (method, at), est in panel.scores.items() if at == place and est.std is not None
        ]
        if len(ranked) > 1:
            best[place] = frozenset(method for value, method in ranked if value > max(ranked)[0] - 1e-12)
    return best


def _table(
    key: str,
    title: str,
    header: Sequence[Head],
    rows: Sequence[Sequence[Cell]],
    notes: Sequence[str],
    *,
    reads: str = "",
    details: Sequence[str] = (),
) -> Table:
    return Table(key, title, tuple(header), tuple(map(tuple, rows)), tuple(notes), reads=reads, details=tuple(details))
