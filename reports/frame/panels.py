"""Groups runs that may stand in one table, and computes every statistic that tables, figures and page show of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UserError
from bench.tasks import score_named
from reports.columns.document import Column
from reports.columns.indices import KNOWN
from reports.frame.estimates import Estimate, by_column, estimate_of, moderated_estimates
from reports.frame.frame import PROFILED, By
from reports.stats.intervals import Interval, average_rank

if TYPE_CHECKING:
    import pandas as pd

    from reports.stats.best import AgainstBest
    from reports.stats.comparisons import Comparison, Pairs

OVERALL = ""
"""The place that stands for all columns of a panel together, where a place is otherwise the name of a column."""


@dataclass(frozen=True)
class Panel:
    """One setting: its runs differ in method, seed and the column's value alone.

    Attributes:
        title: the setting with every field of the protocol that is not at its default; no two panels share it.
        by: what the columns are: task, k or model.
        columns: the values of `by`, in order.
        methods: their labels, sorted by what they store, least first.
        baseline: the method that the others are compared with.
        runs: the rows of the frame for these runs.
        fixed: what all runs share, such as model and k.
        name: the setting for readers, such as `minilm-l6, 100 training rows`; no two panels share it.
    """

    title: str
    by: By
    columns: tuple[str, ...]
    methods: tuple[str, ...]
    baseline: str
    runs: pd.DataFrame = field(repr=False)
    fixed: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    @cached_property
    def ok(self) -> pd.DataFrame:
        """The runs that finished."""
        finished: pd.DataFrame = self.runs[self.runs["status"] == "ok"]
        return finished

    @cached_property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Scores by method, (seeds, columns): all of one shape, NaN for an absent run."""
        return dict(zip(self.methods, self.cube("score"), strict=True))

    def cube(self, key: str) -> NDArray[np.float64]:
        """A figure of every run: (methods, seeds, columns), NaN where there is none."""
        figures = np.full((len(self.methods), self.runs["seed"].nunique(), len(self.columns)), np.nan)
        if key in self.ok:
            figures[self._where] = self.ok[key].astype(float)
        return figures

    @cached_property
    def _where(self) -> tuple[NDArray[np.intp], ...]:
        """Each finished run's place in a cube."""
        import pandas as pd

        axes = (
            ("method", self.methods),
            ("seed", sorted(self.runs["seed"].unique())),
            (self.by, self.columns),
        )
        return tuple(pd.Index(order).get_indexer(self.ok[name]) for name, order in axes)

    @cached_property
    def headlines(self) -> dict[str, str]:
        """The score that is shown for each column."""
        if "headline" not in self.ok:
            return {}
        pairs = self.ok[[self.by, "headline"]].dropna().drop_duplicates(self.by)
        return dict(zip(pairs[self.by], pairs["headline"], strict=True))

    @cached_property
    def seeds(self) -> int:
        """The most seeds that any method and column has a score of."""
        return max(int((~np.isnan(array)).sum(axis=0).max()) for array in self.arrays.values())

    @property
    def sums_up(self) -> bool:
        """Whether a mean over the columns means anything: over several tasks, never over K or models."""
        return self.by == "task" and len(self.columns) > 1

    @property
    def places(self) -> tuple[str, ...]:
        """The columns, and before them all together where that means anything."""
        return ((OVERALL,) if self.sums_up else ()) + self.columns

    @cached_property
    def scores(self) -> dict[tuple[str, str], Estimate]:
        """(method, place) -> score. It is absent where no run finished, and a mean is absent where a task is."""
        cube = np.stack(list(self.arrays.values()))
        still = [method in self.still for method in self.methods]
        by_place: dict[tuple[str, str], Estimate] = {}
        for place in self.places:
            estimates = moderated_estimates(
                self._of(cube, place),
                resolution=self.resolution(place),
                still=still,
                bounds=self.bounds(place),
            )
            pairs = zip(self.methods, estimates, strict=True)
            by_place |= {(method, place): estimate for method, estimate in pairs if estimate is not None}
        return by_place

    @cached_property
    def comparisons(self) -> dict[str, Pairs]:
        """Place -> the comparisons of all pairs of methods. Tables, sentences and figures all use these."""
        from reports.stats.comparisons import compare_pairs

        by_place: dict[str, Pairs] = {}
        for place in self.places:
            low, high = self.bounds(place)
            scores = self.scores_at(place)
            by_place[place] = compare_pairs(
                scores, resolution=self.resolution(place), still=self.still, span=high - low
            )
        return by_place

    def against_best(self, place: str, margin: float) -> dict[str, AgainstBest]:
        """Each method beside the best of the others there, by Hsu's comparisons; `margin` makes no difference."""
        from reports.stats.best import against_best

        low, high = self.bounds(place)
        return against_best(
            self.scores_at(place),
            margin=margin,
            resolution=self.resolution(place),
            still=self.still,
            span=high - low,
        )

    def scores_at(self, place: str) -> dict[str, NDArray[np.float64]]:
        """Scores by method, (seeds, columns of the place), NaN for an absent run."""
        return {method: self._of(array, place) for method, array in self.arrays.items()}

    @cached_property
    def contrasts(self) -> dict[str, dict[str, Comparison]]:
        """Place -> method -> its difference to the baseline, taken from `comparisons`."""
        from reports.stats.comparisons import with_improvement

        by_place: dict[str, dict[str, Comparison]] = {}
        for place in self.places:
            scores = self.scores_at(place)
            pairs = [self.comparisons[place][m, self.baseline] for m in self.methods if m != self.baseline]
            by_place[place] = {pair.method: with_improvement(pair, scores) for pair in pairs}
        return by_place

    @cached_property
    def still(self) -> frozenset[str]:
        """Methods that took no optimizer step in any run, such as one that always gives the same answer."""
        if "steps" not in self.ok:
            return frozenset()
        most = self.ok.groupby("method")["steps"].max()
        return frozenset(map(str, most.index[most == 0]))

    def bounds(self, place: str) -> tuple[float, float]:
        """The least and the greatest score that is possible there; infinite where the score is not known."""
        scales = [score_named(self.headlines.get(column, "")) for column in self._columns(place)]
        bounded = [scale for scale in scales if scale is not None]
        if len(bounded) < len(scales):
            return -np.inf, np.inf
        return sum(scale.low for scale in bounded) / len(bounded), sum(scale.high for scale in bounded) / len(bounded)

    def _columns(self, place: str) -> tuple[str, ...]:
        return self.columns if place == OVERALL else (place,)

    def resolution(self, place: str) -> NDArray[np.float64]:
        """The step of each column's score: about one over the test rows; 0 where their number is not known."""
        if "test_examples" not in self.ok:
            return np.zeros(len(self._columns(place)))
        rows = self.ok.groupby(self.by)["test_examples"].min().reindex(self._columns(place))
        steps: NDArray[np.float64] = (1 / rows).fillna(0.0).to_numpy(dtype=float)
        return steps

    @cached_property
    def ranks(self) -> dict[str, float]:
        """Average rank of the methods that have a score of every task; empty at one seed or one method."""
        complete = [method for method, array in self.arrays.items() if not np.isnan(array).all(axis=0).any()]
        if self.seeds < 2 or len(complete) < 2 or self.by != "task":
            return {}
        mean_ranks = average_rank(np.stack([self.arrays[method] for method in complete]))
        return {} if mean_ranks is None else dict(zip(complete, map(float, mean_ranks), strict=True))

    @cached_property
    def figures(self) -> tuple[str, ...]:
        """Keys of `definitions`, in its order, that any run has; the score is not among them."""
        runs = self.ok
        return tuple(key for key in self.definitions if key in runs and key != "score" and runs[key].notna().any())

    @cached_property
    def definitions(self) -> dict[str, Column]:
        """Key -> column of every figure: those of our meters, and those that the records declare themselves."""
        return KNOWN | declared(self.ok)

    @cached_property
    def costs(self) -> dict[tuple[str, str], dict[str, Estimate]]:
        """(method, place) -> key -> estimate, for all figures except the score."""
        by_place: dict[tuple[str, str], dict[str, Estimate]] = {}
        for key in self.figures:
            cube = self.cube(key)
            swept = self._profiled(key) if key in PROFILED else by_column(cube)
            for method, array, singles in zip(self.methods, cube, swept, strict=True):
                measured = np.flatnonzero(~np.isnan(array).all(axis=0))
                estimates: dict[str, Estimate | None] = {self.columns[at]: singles[at] for at in measured}
                if self.sums_up and len(measured):  # a mean over the tasks that have the figure
                    first = singles[measured[0]]
                    estimates[OVERALL] = first if key in PROFILED else estimate_of(array[:, measured])
                for place, estimate in estimates.items():
                    if estimate is not None:
                        by_place.setdefault((method, place), {})[key] = estimate
        return by_place

    def _profiled(self, key: str) -> list[list[Estimate]]:
        """A time ratio with the interval that the profile computed: all runs of a method carry the same ratio."""
        ratio, low, high = (
            np.fmax.reduce(self.cube(name), axis=1).tolist() for name in (key, f"{key}_low", f"{key}_high")
        )
        return [
            [Estimate(*ends[:1], 1, None, Interval(*ends[1:])) for ends in zip(*rows, strict=True)]
            for rows in zip(ratio, low, high, strict=True)
        ]

    @cached_property
    def statuses(self) -> dict[tuple[str, str], Counter[str]]:
        """(method, column) -> status -> number of runs."""
        counts: dict[tuple[str, str], Counter[str]] = {}
        rows = zip(self.runs["method"], self.runs[self.by], self.runs["status"], strict=True)
        for method, column, status in rows:
            counts.setdefault((method, column), Counter())[status] += 1
        return counts

    def _of(self, array: NDArray[np.float64], place: str) -> NDArray[np.float64]:
        if place == OVERALL:
            return array
        at = self.columns.index(place)
        return array[..., at : at + 1]


def panels(runs: pd.DataFrame, *, by: By = "task", baseline: str | None = None) -> list[Panel]:
    """Splits a frame into panels, one for each setting.

    Args:
        runs: of `reports.frame.frame.frame`.
        by: what the columns are; runs that differ in another one stand in different panels.
        baseline: a method's label; None: the one that stores most in each panel.

    Raises:
        UserError: no run is of the baseline.
    """
    if baseline is not None and baseline not in set(runs["method"]):
        listed = ", ".join(sorted(runs["method"].unique()))
        raise UserError(f"--baseline {baseline}: no run is of that method; there is {listed}")
    keys = [key for key in ("model", "k", "task") if key != by]
    settings = []
    for values, group in runs.groupby([*keys, "protocol"], sort=False):
        fixed = dict(zip([*keys, "protocol"], map(str, values), strict=True))
        methods = _order(group)
        reference = baseline if baseline in methods else methods[-1]
        settings.append(
            Panel(_title(fixed), by, _sorted(by, group[by].unique()), methods, reference or methods[-1], group, fixed)
        )
    ordered = sorted(settings, key=lambda panel: [_natural(panel.fixed[key]) for key in [*keys, "protocol"]])
    return [replace(panel, name=name) for panel, name in zip(ordered, _names(ordered), strict=True)]


def _title(fixed: Mapping[str, str]) -> str:
    words = [f"K={value}" if key == "k" else value for key, value in fixed.items() if value]
    return ", ".join(words)


def _names(found: Sequence[Panel]) -> list[str]:
    """Model, rows and task of each panel; where several share these, what tells their protocols apart."""
    short = []
    for panel in found:
        words = {**panel.fixed, "protocol": ""}
        if "k" in words:
            words["k"] = "all training rows" if words["k"] == "all" else f"{words['k']} training rows"
        short.append(", ".join(text for text in words.values() if text))
    names = []
    for panel, name in zip(found, short, strict=True):
        alike = [other.fixed["protocol"].split(", ") for other, same in zip(found, short, strict=True) if same == name]
        apart = [word for word in panel.fixed["protocol"].split(", ") if not all(word in other for other in alike)]
        difference = ", ".join(filter(None, apart)) or "usual settings"
        difference = difference.replace("dev rows as K", "as many dev rows as training rows")
        names.append(f"{name}, {difference}" if len(alike) > 1 else name)
    return names


def _natural(value: str) -> tuple[int, str]:
    """Numbers by size, before words."""
    return (int(value), "") if value.isdigit() else (10**9, value)


def _sorted(by: By, values: Any) -> tuple[str, ...]:
    return tuple(sorted(map(str, values), key=_natural))


def _order(runs: pd.DataFrame) -> tuple[str, ...]:
    """Sorts methods by what they store. Unknown ones come first, since the last method is the default baseline."""
    if "stored_parameters" not in runs:
        return tuple(sorted(runs["method"].unique()))
    sizes = runs.groupby("method")["stored_parameters"].max().sort_index()
    return tuple(map(str, sizes.sort_values(kind="stable", na_position="first").index))


def declared(runs: pd.DataFrame) -> dict[str, Column]:
    """Key -> column of the figures that records declare themselves: those of meters that are not shipped."""
    if "declared" not in runs:
        return {}
    return {key: column for each in runs["declared"] if isinstance(each, dict) for key, column in each.items()}
