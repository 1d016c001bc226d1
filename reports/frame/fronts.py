"""Pareto fronts of a panel: the methods that no other method beats in both score and cost."""

from __future__ import annotations

from reports.frame.estimates import Estimate
from reports.frame.panels import Panel
from reports.stats.fronts import pareto_front


def front_keys(panel: Panel) -> list[str]:
    """The keys of the costs that a front may be drawn over: measured and not estimated, and lower is better."""
    return [
        key for key in panel.figures if panel.definitions[key].may_rank and panel.definitions[key].better == "lower"
    ]


def front_points(panel: Panel, key: str, place: str) -> dict[str, tuple[Estimate, Estimate]]:
    """Method -> its score and its cost, for the methods that have both.

    Raises:
        ValueError: the figure must not rank methods, such as an estimate.
    """
    if not panel.definitions[key].may_rank:
        why = "is estimated" if panel.definitions[key].estimated else "must not rank methods"
        raise ValueError(f"{key} {why}: no front is drawn over it")
    points = {}
    for method in panel.methods:
        score, cost = panel.scores.get((method, place)), panel.costs.get((method, place), {}).get(key)
        if score is not None and cost is not None:
            points[method] = (score, cost)
    return points


def front_members(panel: Panel, key: str, place: str) -> list[str]:
    """The methods on the front, cheapest first."""
    points = front_points(panel, key, place)
    if not points:
        return []
    on_front = pareto_front([s.mean for s, _ in points.values()], [c.mean for _, c in points.values()])
    members = [method for method, on in zip(points, on_front, strict=True) if on]
    return sorted(members, key=lambda method: (points[method][1].mean, -points[method][0].mean))
