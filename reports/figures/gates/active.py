"""How many parameters stand behind gates above a threshold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from reports.figures.drawing import Drawing
from reports.figures.labels import key_below
from reports.figures.sources import GateSource
from reports.figures.style import PARTS, Look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ORDER = 50
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1, 1), (5, 1, 1, 1))


def drawings(source: GateSource, width: float) -> Iterator[Drawing]:
    """One figure, where a run has the curve."""
    points = _points(source)
    if points.empty:
        return
    half = points[points["tau"] == min(points["tau"], key=lambda tau: abs(tau - 0.5))]
    shares = half.groupby("name")["share"].mean()
    caption = (
        f"active(tau), the share of stored parameters behind gates above tau, mean over seeds with their range: at "
        f"tau {half['tau'].iloc[0]:g} from {shares.min():.2f} ({shares.idxmin()}) to {shares.max():.2f} "
        f"({shares.idxmax()}); it rests on the gates' arbitrary scale."
    )
    yield Drawing("active_curves", caption, partial(_draw, source, points), width, 1.35 + 0.36 * width)


def _points(source: GateSource) -> pd.DataFrame:
    """Rows of variant and task, tau, share: one for each run and threshold."""
    import pandas as pd

    rows = [
        (f"{label}, {record.asked.task.label}", label, record.asked.task.label, tau, count / stored)
        for label, runs in sorted(source.study.variants().items())
        for record in runs
        if record.result is not None and record.result.effective is not None
        and (stored := record.result.stored_parameters)
        for tau, count in record.result.effective.active_curve or ()
    ]  # fmt: skip
    points: pd.DataFrame = pd.DataFrame(rows, columns=["name", "variant", "task", "tau", "share"])
    return points


def _draw(source: GateSource, points: pd.DataFrame, figure: Figure) -> None:
    import seaborn as sns

    ax = figure.subplots()
    dashes = dict(zip(source.study.tasks, cycle(_DASHES), strict=False))
    colours = dict(zip(sorted(points["variant"].unique()), cycle(PARTS), strict=False))
    names = points.drop_duplicates("name").set_index("name")
    looks = {
        str(name): Look(colours[row.variant], colours[row.variant], "", dashes[row.task])
        for name, row in names.iterrows()
    }
    sns.lineplot(
        points, x="tau", y="share", hue="name", style="name", hue_order=list(looks), style_order=list(looks),
        palette=[look.colour for look in looks.values()], dashes=[look.dashes for look in looks.values()],
        errorbar=("pi", 100), err_kws={"linewidth": 0, "alpha": 0.15}, legend=False, ax=ax,
    )  # fmt: skip
    ax.set_xlabel("tau")
    ax.set_ylabel("active(tau) / stored")
    ax.set_ylim(0, 1.05)
    key_below(figure, list(looks), looks, lines=True)
