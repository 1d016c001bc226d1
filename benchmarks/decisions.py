"""What does a comparison of tuned methods decide, and how often wrongly?

`python -m benchmarks.decisions` prints two markdown tables by simulation: about half a minute, no network.

Eight methods on one task, or two, of which the mean is compared. The true score of a method falls from its best by
`curvature` for each decade squared between the learning rate and the method's best rate, and to the floor's more than
one decade above that; the best rate lies anywhere in the middle two fifths of a range of 2.5 decades. Trials draw
their rates from the range, the same quantiles for all methods; their dev scores are shares of so many rows, with a
seed of their own. The best on dev is chosen and retrained with fresh seeds, which move a score by `SD`, half of that
variance common to all methods; test scores are rounded to whole rows, and compared as reports compare them. Test rows
are fixed, as they are in a comparison.

A study is the whole of that: draws, choice, retraining. With several studies each gives one score, the mean of its
retrainings, and the studies take the place of the seeds.

Two kinds of false claim are counted. *Of settings*: the interval of some pair lies off the true difference between the
two settings that were chosen. *Of methods*: some method is said to be better than another though all eight are equally
good. They differ because a choice is a matter of luck: the rate chosen for one method may be truly better than that
chosen for its equal, and fresh seeds of the same rate cannot show that another search would have chosen another.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.tuning.choice import Trial, choose
from bench.tuning.space import Axis
from reports.stats.best import MARGIN, constrained
from reports.stats.comparisons import POWER, detectable
from reports.stats.good_range import good_range
from reports.stats.intervals import LEVEL
from reports.stats.moderation import half_width, pair_spread

Array = NDArray[np.float64]

METHODS, TOP, FLOOR, SD, GAP, DECADES, TEST_ROWS = 8, 0.8, 0.25, 0.015, 0.03, 2.5, 500
CLIFF = 0.3
DRAWS = 300


@dataclass(frozen=True)
class Design:
    """What is simulated.

    Attributes:
        studies: searches of each method, each with draws and seeds of its own.
        trials: in each.
        retrainings: of each study's choice, with fresh seeds.
        dev: rows that a choice is made on.
        curvature: how much the score falls a decade from the best rate; 0: every rate is as good, and none diverges.
        sd: over seeds.
        tasks: each searched by itself.
    """

    studies: int = 1
    trials: int = 12
    retrainings: int = 5
    dev: int = 1000
    curvature: float = 0.05
    sd: float = SD
    tasks: int = 1

    @property
    def runs(self) -> int:
        """Of one method on one task."""
        return self.studies * (self.trials + self.retrainings)


@dataclass(frozen=True)
class Decided:
    """Shares of experiments, of 1, unless something else is said.

    Attributes:
        of_settings: false claims about the chosen settings, the methods being equal.
        of_methods: false claims about the methods, the methods being equal.
        best_missed: one given method of those equals is not among those that may be the best.
        not_as_good: where one method is better than the rest by `GAP`, any of these is called as good, less `GAP`.
        as_good: of equal methods, how many are called as good as the best, less `GAP`.
        power: of the pairs with the method that is better by `GAP`, how many are told apart.
        candidates: how many methods may then be the best, of eight; a number.
        detectable: the difference that is found with a power of 80%; in score.
        loss: how far the chosen settings are below the methods' best; in score.
    """

    of_settings: float
    of_methods: float
    best_missed: float
    not_as_good: float
    as_good: float
    power: float
    candidates: float
    detectable: float
    loss: float


def designs() -> Iterator[Design]:
    """All that the command simulates."""
    yield Design(curvature=0.0)
    for tasks, dev in ((1, 100), (1, 1000), (2, 100), (2, 1000)):
        for studies, trials, retrainings in ((1, 12, 5), (1, 12, 10), (3, 12, 2), (5, 4, 1), (5, 12, 1), (10, 4, 1)):
            if tasks == 1 or retrainings in (1, 5):
                yield Design(studies, trials, retrainings, dev, tasks=tasks)


def true_scores(decades: Array, curvature: float) -> Array:
    """The score at a rate so many decades above the method's best rate."""
    return np.where((decades > 1) & (curvature > 0), FLOOR, TOP - curvature * decades**2)


def experiments(
    design: Design, draws: int, generator: np.random.Generator, raised: float = 0.0
) -> tuple[Array, Array, Array]:
    """So many tuned comparisons; the first method is better than the rest by `raised` at every rate.

    Returns:
        Test scores (draws, methods, seeds or studies, tasks); the true scores of the settings behind them, of the same
        shape; and those of the best settings, (methods,).
    """
    of_tasks = [on_one_task(design, draws, generator, raised) for _ in range(design.tasks)]
    scores, settings = (np.stack(arrays, axis=-1) for arrays in zip(*of_tasks, strict=True))
    return scores, settings, TOP + np.where(np.arange(METHODS) == 0, raised, 0.0)


def on_one_task(design: Design, draws: int, generator: np.random.Generator, raised: float) -> tuple[Array, Array]:
    """Test scores and true scores of the settings behind them, (draws, methods, seeds or studies) each."""
    shape = (draws, design.studies, METHODS)
    bonus = np.where(np.arange(METHODS) == 0, raised, 0.0)
    best_rates = DECADES * generator.uniform(0.3, 0.7, size=(draws, 1, METHODS, 1))
    rates = DECADES * generator.random((draws, design.studies, 1, design.trials))
    truth = true_scores(rates - best_rates, design.curvature) + bonus[:, None]
    common, own = (np.sqrt(0.5) * design.sd for _ in range(2))
    trained = truth + common * generator.normal(size=(*shape[:2], 1, design.trials))
    trained += own * generator.normal(size=truth.shape)
    dev = generator.binomial(design.dev, np.clip(trained, 0, 1)) / design.dev
    # The highest score; of those that tie the smallest rate, as bench.tuning.choice has it.
    highest = dev >= dev.max(axis=-1, keepdims=True)
    chosen = np.where(highest, np.broadcast_to(rates, truth.shape), np.inf).argmin(axis=-1)
    settings = np.take_along_axis(truth, chosen[..., None], axis=-1)
    scores = settings + common * generator.normal(size=(*shape[:2], 1, design.retrainings))
    scores += own * generator.normal(size=(*shape, design.retrainings))
    scores = np.round(scores * TEST_ROWS) / TEST_ROWS
    settings = np.broadcast_to(settings, scores.shape)
    if design.studies == 1:
        return scores[:, 0], settings[:, 0]
    return scores.mean(axis=-1).swapaxes(1, 2), settings.mean(axis=-1).swapaxes(1, 2)


@dataclass(frozen=True)
class Compared:
    """One experiment as a report compares it, over pairs and over methods."""

    gaps: Array
    halves: Array
    low: Array
    high: Array
    detectable: float


def compared(scores: Array) -> Compared:
    """As `compare_pairs` and `against_best` do, from (methods, seeds, tasks)."""
    first, second = np.triu_indices(METHODS, 1)
    spread = pair_spread(scores, first, second, 1 / TEST_ROWS)
    gaps = (scores[first] - scores[second]).mean(axis=(1, 2))
    one_sided = half_width(spread, 1 - 2 * (1 - LEVEL) / (METHODS - 1))
    square, widths = np.zeros((2, METHODS, METHODS))
    square[first, second], square[second, first] = gaps, -gaps
    widths[first, second] = widths[second, first] = one_sided
    alpha = (1 - LEVEL) / len(first)
    typical = detectable(
        float(np.sqrt(np.median(spread.variances))), float(np.median(spread.freedom)), alpha=alpha, power=POWER
    )
    return Compared(gaps, half_width(spread, 1 - alpha), *constrained(square, widths), typical)


def simulate(design: Design, *, draws: int, seed: int = 0) -> Decided:
    """How often the comparison says what is false, and what is true."""
    generator = np.random.default_rng(seed)
    first, second = np.triu_indices(METHODS, 1)
    counts = dict.fromkeys(("of_settings", "of_methods", "best_missed", "not_as_good", "as_good"), 0.0)
    scores, settings, best = experiments(design, draws, generator)
    least = []
    for measured, true in zip(scores, settings, strict=True):
        result = compared(measured)
        expected = (true[first] - true[second]).mean(axis=(1, 2))
        counts["of_settings"] += bool((np.abs(result.gaps - expected) > result.halves).any())
        counts["of_methods"] += bool((np.abs(result.gaps) > result.halves).any())
        counts["best_missed"] += float((result.high <= 0).mean())
        counts["as_good"] += float((result.low >= -GAP).mean())
        least.append(result.detectable)
    better, _, _ = experiments(design, draws, generator, raised=GAP)
    power = candidates = 0.0
    for measured in better:
        result = compared(measured)
        counts["not_as_good"] += bool((result.low[1:] >= -GAP).any())
        power += float((result.gaps > result.halves)[first == 0].mean())
        candidates += float((result.high > 0).sum())
    return Decided(
        **{name: float(count) / draws for name, count in counts.items()},
        power=power / draws,
        candidates=candidates / draws,
        detectable=float(np.mean(least)),
        loss=float((best[:, None, None] - settings).mean()),
    )


@dataclass(frozen=True)
class Searched:
    """What one method's 12 trials tell of its learning rates.

    Attributes:
        loss: how far the chosen setting is below the best; in score.
        loss_middle: the same where of trials that tie the middle one is chosen.
        flagged: share of searches whose choice stands at an edge of the range, the best rate lying in the middle.
        flagged_outside: the same with the best rate half a decade above the range.
        width: the median width of the range of rates within the margin, in decades.
        joined: the median width without smoothing.
        cliff: the median width where scores collapse .3 decades above the best rate.
    """

    loss: float
    loss_middle: float
    flagged: float
    flagged_outside: float
    width: float
    joined: float
    cliff: float


def search(dev: int, *, draws: int, trials: int = 12, curvature: float = 0.05, sd: float = SD) -> Searched:
    """Searches one method's rate, with `choose` and `good_range` as a report uses them."""
    generator = np.random.default_rng(0)
    axis = Axis(low=1e-4, high=1e-4 * 10**DECADES)
    loss, middle, flags, widths = [], [], np.zeros(2), []
    for _ in range(draws):
        places = DECADES * generator.random(trials)
        rates = 1e-4 * 10**places
        for outside, best_rate in enumerate((DECADES / 2, DECADES + 0.5)):
            truth = true_scores(places - best_rate, curvature)
            noisy = np.clip(truth + sd * generator.normal(size=trials), 0, 1)
            scores = generator.binomial(dev, noisy) / dev
            chosen = choose([Trial(*pair) for pair in zip(rates.tolist(), scores.tolist(), strict=True)], axis)
            assert chosen is not None
            flags[outside] += chosen.edge is not None
            if not outside:
                loss.append(TOP - truth[chosen.at])
                tied = np.flatnonzero(scores == chosen.score)
                middle.append(TOP - truth[tied[np.argsort(rates[tied])][(len(tied) - 1) // 2]])
                fallen = np.where(places - best_rate > CLIFF, FLOOR, scores)
                ranges = good_range(rates, scores), good_range(rates, scores, bandwidth=0), good_range(rates, fallen)
                widths.append([found.width for found in ranges])
    wide, joined, cliff = np.median(widths, axis=0)
    return Searched(
        loss=float(np.mean(loss)),
        loss_middle=float(np.mean(middle)),
        flagged=float(flags[0] / draws),
        flagged_outside=float(flags[1] / draws),
        width=float(wide),
        joined=float(joined),
        cliff=float(cliff),
    )


def table(draws: int, sd: float) -> str:
    """All designs as a markdown table, in percent."""
    heads = [
        "tasks",
        "studies x (trials + retrainings)",
        "runs a task",
        "dev rows",
        "fall a decade",
        "false of settings",
    ]
    heads += ["false of methods", "best missed", "as good, falsely", f"as good within {GAP:g}"]
    heads += [f"power at {GAP:g}", "may be best", "found at 80%", "lost by choice"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for design in designs():
        seen = simulate(replace(design, sd=sd), draws=draws)
        cells = [
            str(design.tasks),
            f"{design.studies} x ({design.trials} + {design.retrainings})",
            str(design.runs),
            str(design.dev),
        ]
        cells += [f"{design.curvature:g}"]
        shares = (seen.of_settings, seen.of_methods, seen.best_missed, seen.not_as_good, seen.as_good, seen.power)
        cells += [f"{100 * share:.1f}" for share in shares]
        cells += [f"{seen.candidates:.1f}", f"{seen.detectable:.3f}", f"{seen.loss:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def search_table(draws: int, sd: float) -> str:
    """What 12 trials tell of one method's rates, as a markdown table."""
    half = np.sqrt(MARGIN / 0.05)
    heads = ["dev rows", "lost by choice", "the middle of a tie", "flagged, best rate in the middle (%)"]
    heads += [
        "outside (%)",
        f"width ({2 * half:.2f})",
        "without smoothing",
        f"width before a cliff ({half + CLIFF:.2f})",
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for dev in (100, 1000, 10_000):
        seen = search(dev, draws=draws, sd=sd)
        cells = [str(dev), f"{seen.loss:.4f}", f"{seen.loss_middle:.4f}", f"{100 * seen.flagged:.1f}"]
        cells += [f"{100 * seen.flagged_outside:.1f}"]
        cells += [f"{width:.2f}" for width in (seen.width, seen.joined, seen.cliff)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=DRAWS, help="experiments for each design")
    parser.add_argument("--sd", type=float, default=SD, help="standard deviation of a score over seeds")
    given = parser.parse_args()
    print(f"Percent of {given.draws} experiments for each design; standard deviation over seeds {given.sd:g}.\n")
    print(table(given.draws, given.sd))
    print(f"\nOne method, 12 trials, {given.draws} searches; widths in decades, medians.\n")
    print(search_table(given.draws, given.sd))


if __name__ == "__main__":
    main()
