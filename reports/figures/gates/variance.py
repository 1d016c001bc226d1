"""What the variance of gate values goes with."""

from __future__ import annotations

from collections.abc import Iterator

from reports.figures.dots import DotGrid, Quantity
from reports.figures.drawing import Drawing
from reports.figures.sources import GateSource
from reports.figures.style import PARTS, Look
from reports.frame.estimates import Estimate
from reports.stats.intervals import Interval

ORDER = 30
LEAST_SHARE = 0.01
"""Terms with a smaller share everywhere are left out."""


def drawings(source: GateSource, width: float) -> Iterator[Drawing]:
    """A row for each term, a panel for each mean, raw and with the length held constant."""
    if "variance" not in source.tables:
        return
    rows = source.tables["variance"].rows
    shares = rows.groupby("term", sort=False)["share"].max()
    terms = [str(term) for term in shares[shares >= LEAST_SHARE].sort_values(ascending=False).index]
    quantities = []
    for (mean, kind), of in rows.groupby(["mean", "kind"], sort=False):
        values = {
            str(row.term): Estimate(row.share, 1, None, None if row.low != row.low else Interval(row.low, row.high))
            for row in of.astype({"low": float, "high": float}).itertuples(index=False)
            if row.term in terms
        }
        quantities.append(Quantity(f"{mean} mean, {kind}", values))
    looks = {term: Look(PARTS[0], PARTS[0], "o") for term in terms}
    grid = DotGrid(terms, quantities, looks, width, shares=True)
    bars = "bars are 95% intervals that resample whole runs" if source.study.seeds > 1 else "one seed, so no intervals"
    caption = (
        f"Share of the variance of gate values that goes with each term: most with {terms[0]} "
        f"({shares.max():.2f} at most); {bars}, terms under {LEAST_SHARE} are left out, shares of more than 1 together "
        "mean that length hid differences, and shares do not say what the gates are good for."
    )
    yield Drawing("variance_bars", caption, grid.draw, width, grid.height)
