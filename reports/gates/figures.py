"""The figures of a gate study; each function takes what it draws and an `ax`, and returns the `ax`."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.figures.style import legend_below
from reports.gates.frames import Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LABELLED_SHARE = 0.08
"""The least share of the variance whose segment is wide enough for its number and interval."""
PART_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--", "**", "OO", "||", "/.")


def part_colour(parts: list[str], part: str) -> str:
    """A colour for each part, the same in every figure."""
    return PART_COLOURS[parts.index(part) % len(PART_COLOURS)]


def heat_map(study: Study, task: str, ax: Axes) -> Axes:
    """Mean gate by layer and part on one task."""
    own = study.values[study.values["task"] == task]
    table = own.pivot_table(index="layer", columns="part", values="value", aggfunc="mean")
    ax.imshow(table.to_numpy(), vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            value = float(table.iloc[row, column])
            colour = "white" if value < 0.55 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    ax.set_xticks(range(table.shape[1]), list(table.columns))
    ax.set_yticks(range(table.shape[0]), [str(layer) for layer in table.index])
    ax.set_ylabel("layer")
    ax.set_title(task)
    ax.grid(visible=False)
    return ax


def distributions(study: Study, ax: Axes) -> Axes:
    """Distribution of gate values over examples, layers and seeds, by task and part."""
    parts = sorted(study.values["part"].unique())
    places, labels = [], []
    for number, task in enumerate(study.tasks):
        for at, part in enumerate(parts):
            own = study.values[(study.values["task"] == task) & (study.values["part"] == part)]["value"]
            place = number * (len(parts) + 1) + at
            body: Any = ax.violinplot([own.to_numpy()], positions=[place], widths=0.9, showmedians=True)
            for shape in body["bodies"]:
                shape.set_facecolor(part_colour(parts, part))
                shape.set_alpha(0.7)
            for line in ("cmedians", "cbars", "cmins", "cmaxes"):
                body[line].set_color("#1b1b1b")
                body[line].set_linewidth(0.6)
            places.append(place)
            labels.append(f"{task}\n{part}" if at == (len(parts) - 1) // 2 else f"\n{part}")
    ax.set_xticks(places, labels)
    ax.set_ylim(-0.02, 1.02)
    ax.set_ylabel("gate")
    return ax


def variance_bars(rows: pd.DataFrame, ax: Axes) -> Axes:
    """Variance shares as stacked bars: masked and padded mean, raw and with the length held constant."""
    bars = list(dict.fromkeys(zip(rows["mean"], rows["kind"], strict=True)))
    terms = [term for term in dict.fromkeys(rows["term"]) if rows[rows["term"] == term]["share"].max() >= 0.01]
    import matplotlib

    colours = matplotlib.colormaps["tab20"]
    for at, (mean, kind) in enumerate(bars):
        own = rows[(rows["mean"] == mean) & (rows["kind"] == kind)].set_index("term")
        left = 0.0
        for number, term in enumerate(terms):
            if term not in own.index:
                continue
            share = max(0.0, float(own.loc[term, "share"]))
            ax.barh(
                at, share, left=left, color=colours(number % 20), hatch=_HATCHES[number % len(_HATCHES)],
                edgecolor="white", linewidth=0.3, label=term if at == 0 or term == "length" else None,
            )  # fmt: skip
            low, high = own.loc[term, "low"], own.loc[term, "high"]
            if share >= LABELLED_SHARE and low == low and low is not None:
                ax.text(
                    left + share / 2,
                    at,
                    f"{share:.2f}\n[{low:.2f}, {high:.2f}]",
                    ha="center",
                    va="center",
                    fontsize=5,
                    bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
                )
            left += share
    ax.set_yticks(range(len(bars)), [f"{mean} mean\n{kind}" for mean, kind in bars])
    ax.invert_yaxis()
    ax.set_xlabel(f"share of the variance of gate values{_at(rows)}")
    seen: dict[str, Any] = {}
    for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
        seen.setdefault(label, handle)
    ax.legend(seen.values(), seen.keys(), ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=5.5)
    ax.grid(visible=False)
    return ax


def ablation_bars(rows: pd.DataFrame, place: str, ax: Axes) -> Axes:
    """Differences to the learned gates with their 95% intervals, on one task or all."""
    own = rows[(rows["task"] == place) & rows["difference"].notna()].sort_values("difference")
    at = np.arange(len(own))
    difference = own["difference"].to_numpy(dtype=float)
    low, high = own["low"].to_numpy(dtype=float), own["high"].to_numpy(dtype=float)
    ax.barh(at, difference, color="#56b4e9", height=0.6)
    known = np.isfinite(low) & np.isfinite(high)
    ax.errorbar(
        difference[known], at[known], xerr=[(difference - low)[known], (high - difference)[known]],
        fmt="none", ecolor="#1b1b1b", elinewidth=0.8, capsize=2,
    )  # fmt: skip
    ax.axvline(0, color="#1b1b1b", linewidth=0.6)
    ax.set_yticks(at, [str(name) for name in own["gates"]])
    ax.set_xlabel(f"difference of the score, {place}{_at(own)}")
    return ax


def _at(rows: pd.DataFrame) -> str:
    """What an axis says of intervals: that there are some, or why there are none."""
    return " [95% interval]" if rows["low"].notna().any() else " (one seed: no interval)"


def active_curves(study: Study, ax: Axes) -> Axes:
    """active(tau) over the stored parameters, mean over seeds with their range, by variant and task."""
    styles = ("-", "--", ":", "-.")
    for number, (label, runs) in enumerate(sorted(study.variants().items())):
        for task, style in zip(study.tasks, cycle(styles)):
            curves = [
                [(tau, count / record.result.stored_parameters) for tau, count in record.result.effective.active_curve]
                for record in runs
                if record.asked.task.label == task and record.result is not None and record.result.effective is not None
            ]
            curves = [curve for curve in curves if curve]
            if not curves:
                continue
            taus = [tau for tau, _ in curves[0]]
            shares = np.array([[share for _, share in curve] for curve in curves])
            colour = PART_COLOURS[number % len(PART_COLOURS)]
            ax.plot(taus, shares.mean(axis=0), style, color=colour, label=f"{label}, {task}")
            ax.fill_between(taus, shares.min(axis=0), shares.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    ax.set_xlabel("tau")
    ax.set_ylabel("active(tau) / stored")
    ax.set_ylim(0, 1.05)
    legend_below(ax, columns=2)
    return ax


def gate_against(study: Study, effect: str, task: str, ax: Axes) -> Axes:
    """Each gate's mean value against what its part does, one point a gate and seed."""
    own = study.effects[study.effects["task"] == task].groupby(["seed", "part", "layer"])[["value", effect]].mean()
    parts = sorted(study.effects["part"].unique())
    for part in parts:
        rows = own.xs(part, level="part")
        marker = "osD^v"[parts.index(part) % 5]
        ax.scatter(
            rows["value"], rows[effect], s=9, marker=marker, color=part_colour(parts, part), label=part, alpha=0.8
        )
    ax.set_xlabel("mean gate")
    ax.set_ylabel({"contribution": "contribution |y - y0| / |y0|", "loss_change": "loss change when removed"}[effect])
    if effect == "contribution" and (own[effect] > 0).all():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # no formulas in these figures
        ax.yaxis.set_minor_formatter(lambda value, _: "")
    ax.set_title(task)
    ax.legend()
    return ax
