"""How often do the intervals of the report hold the truth, and how often does it claim a lead that is none?

    python -m benchmarks.coverage --draws 1000

It prints a markdown table of simulated experiments. It takes about two minutes of CPU time (estimated from fewer
draws), in proportion to --draws. It measures no time, so other work on the machine does no harm.

In each experiment several methods with the same true score run on one or two tasks. Their standard deviations over
seeds lie evenly between 1 and 4 units (1 : 4), or are equal; their mean is `SD`. In other settings all have `SD` but
one, which has 4 or 10 times that (one 1 : 4, one 1 : 10). Scores are rounded to whole test rows. In some settings a
seed moves all methods together, as a lucky draw of training rows does.

Coverage is that of single 95% intervals, averaged over methods or pairs, with the worst method or pair in brackets. A
false lead is an experiment in which the test of the report claims a difference between any two of these equal methods.
Power is the share of pairs that the test tells apart where one method is better by 4 or 8 mean standard deviations.

The old interval is a t interval of each method or pair by itself, with Bonferroni's correction for all pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import special

from reports.stats.moderation import half_width, method_spread, pair_spread

Array = NDArray[np.float64]

METHODS, SD, SCORE, LEVEL = 8, 0.01, 0.8, 0.95
DRAWS = 1_000


@dataclass(frozen=True)
class Setting:
    """One setting of the simulation.

    Attributes:
        seeds: number of seeds of each method and task.
        tasks: number of tasks.
        rows: number of test rows; scores are multiples of 1 / rows.
        ratio: of the largest standard deviation over methods to the least.
        shared: the share of the mean variance over seeds that is common to all methods.
        methods: number of methods.
        one_noisy: whether all methods have the standard deviation `SD` but one, which has `ratio` times that.
    """

    seeds: int
    tasks: int
    rows: int
    ratio: float = 4.0
    shared: float = 0.0
    methods: int = METHODS
    one_noisy: bool = False


@dataclass(frozen=True)
class Covered:
    """Shares of experiments, of 1; `old_` is the interval of each method or pair by itself."""

    mean: float
    mean_worst: float
    difference: float
    difference_worst: float
    false_leads: float
    power: tuple[float, float]
    old_mean: float
    old_difference: float
    old_false_leads: float
    old_power: tuple[float, float]


SHIFTS = (4.0, 8.0)
"""True differences whose discovery is counted, in mean standard deviations over seeds."""


def settings() -> Iterator[Setting]:
    """All settings that the command simulates."""
    yield from (Setting(n, t, rows) for rows, n, t in product((277, 1000), (2, 3, 5), (1, 2)))
    yield from (Setting(n, t, 500, ratio=1.0) for n, t in product((2, 3, 5), (1, 2)))
    yield from (Setting(n, t, 500, shared=0.5) for n, t in product((2, 3, 5), (1, 2)))
    yield from (Setting(n, 2, 500, methods=m) for n, m in product((2, 3), (2, 3, 4)))
    for m, ratio, n, t in product((8, 4, 3), (4.0, 10.0), (2, 3, 5), (1, 2)):
        yield Setting(n, t, 500, ratio, methods=m, one_noisy=True)


def simulate(setting: Setting, *, draws: int, seed: int = 0) -> Covered:
    """Coverage, false leads and power over `draws` experiments of one setting."""
    generator = np.random.default_rng(seed)
    first, second = np.triu_indices(setting.methods, 1)
    corrected = 1 - (1 - LEVEL) / len(first)
    step = 1 / setting.rows
    hits, old_hits = np.zeros((2, setting.methods))
    pair_hits, old_pair_hits = np.zeros((2, len(first)))
    leads, power = np.zeros(2), np.zeros((2, len(SHIFTS)))
    for _ in range(draws):
        scores, truth = _experiment(setting, generator)
        errors = scores.mean(axis=(1, 2)) - truth
        gaps = scores[first] - scores[second]
        apart = gaps.mean(axis=(1, 2))
        spread = pair_spread(scores, first, second, step)
        hits += np.abs(errors) <= half_width(method_spread(scores, step), LEVEL)
        old_hits += np.abs(errors) <= alone(scores, LEVEL)
        pair_hits += np.abs(apart) <= half_width(spread, LEVEL)
        old_pair_hits += np.abs(apart) <= alone(gaps, LEVEL)
        for kind, widths in enumerate((half_width(spread, corrected), alone(gaps, corrected))):
            leads[kind] += (np.abs(apart) > widths).any()
            power[kind] += [(np.abs(apart + shift * SD) > widths).mean() for shift in SHIFTS]
    return Covered(
        mean=float(hits.mean() / draws),
        mean_worst=float(hits.min() / draws),
        difference=float(pair_hits.mean() / draws),
        difference_worst=float(pair_hits.min() / draws),
        false_leads=float(leads[0] / draws),
        power=(float(power[0, 0] / draws), float(power[0, 1] / draws)),
        old_mean=float(old_hits.mean() / draws),
        old_difference=float(old_pair_hits.mean() / draws),
        old_false_leads=float(leads[1] / draws),
        old_power=(float(power[1, 0] / draws), float(power[1, 1] / draws)),
    )


def _experiment(setting: Setting, generator: np.random.Generator) -> tuple[Array, float]:
    """Scores (methods, seeds, tasks) and their true mean, which lies anywhere between two multiples of 1 / rows."""
    spreads = np.linspace(1, setting.ratio, setting.methods)
    if setting.one_noisy:
        spreads[:-1] = 1
    spreads *= SD / (1 if setting.one_noisy else spreads.mean())
    common = np.sqrt(setting.shared * (spreads**2).mean())
    truth = SCORE + generator.uniform(0, 1 / setting.rows, size=setting.tasks)
    shape = (setting.methods, setting.seeds, setting.tasks)
    noise = np.sqrt(1 - setting.shared) * spreads[:, None, None] * generator.normal(size=shape)
    noise += common * generator.normal(size=shape[1:])
    rounded: Array = np.round((truth + noise) * setting.rows) / setting.rows
    return rounded, float(truth.mean())


def alone(scores: Array, level: float) -> Array:
    """Half the width of the old interval, from each row by itself, (rows,); 0 where its scores do not differ."""
    seeds, tasks = scores.shape[1:]
    variances = np.round(scores.var(axis=1, ddof=1), 15) / seeds / tasks**2
    total = variances.sum(axis=1)
    freedom = np.maximum(total, 1e-300) ** 2 / np.maximum((variances**2).sum(axis=1) / (seeds - 1), 1e-300)
    widths: Array = special.stdtrit(np.maximum(freedom, 1.0), (1 + level) / 2) * np.sqrt(total)
    return widths


def table(draws: int) -> str:
    """All settings as a markdown table, in percent."""
    heads = ["seeds x tasks", "methods", "test rows", "sd over methods", "seed effect"]
    heads += ["mean (worst)", "difference (worst)", "false lead", "power at 4 sd", "at 8 sd"]
    heads += ["old: mean", "difference", "false lead", "power at 4 sd", "at 8 sd"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for setting in settings():
        covered = simulate(setting, draws=draws)
        cells = [f"{setting.seeds} x {setting.tasks}", str(setting.methods), str(setting.rows)]
        cells += [f"one 1 : {setting.ratio:.0f}" if setting.one_noisy else f"1 : {setting.ratio:.0f}"]
        cells += [f"{setting.shared:.0%}"]
        cells += [
            f"{100 * covered.mean:.1f} ({100 * covered.mean_worst:.1f})",
            f"{100 * covered.difference:.1f} ({100 * covered.difference_worst:.1f})",
            *(f"{100 * share:.1f}" for share in (covered.false_leads, *covered.power)),
            *(f"{100 * share:.1f}" for share in (covered.old_mean, covered.old_difference)),
            *(f"{100 * share:.1f}" for share in (covered.old_false_leads, *covered.old_power)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS, help="experiments for each setting")
    draws = parser.parse_args().draws
    print(f"Percent of {draws} experiments for each setting; mean standard deviation over seeds {SD}.\n")
    print(table(draws))


if __name__ == "__main__":
    main()
