"""The profile's engine: every callable takes its turn in every round, and ratios are per round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.meters.column import Column
from bench.meters.meter import Finding, Meter

Seconds = NDArray[np.float64]
FEW_ROUNDS = 10  # an interval from fewer is too narrow to believe


class Ratios(Meter):
    """Declares the ratios of a model's profile, which `bench.costs.profile` measures for all methods together."""

    name: ClassVar[str] = "profile"
    place: ClassVar[int] = 10
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="train_step_ratio",
            label="step time / full",
            group="time",
            home="profile",
            says="Time of a training step over that of full fine-tuning, in rounds in which every method takes its turn.",
            formula="median over rounds of the ratio within a round, with a bootstrap interval",
            meter="bench profile: one process, one shape, random order in each round; malloc keeps freed blocks unless "
            "--allocator system, with which full faults its gradients' pages in anew at each step and reads slower",
            error="holds for the shape, machine and setting named below the table, and is shown beside runs of that setting "
            "alone, whose head may have another number of outputs, which is then said; the interval is of one process, and another process may differ by more; an interval wider than 10% of "
            "the ratio is marked !; a profile in which a step timed against itself is 2% off is marked suspect",
        ),
        Column(
            key="infer_ratio",
            label="inference time / bare",
            group="time",
            home="profile",
            says="Time of a forward pass as deployed, unmerged, over that of the bare model, at the profile's batch size.",
            formula="median over rounds of the ratio within a round, with a bootstrap interval",
            meter="bench profile",
            error="as for the step time; weights that equal the bare model's share its memory",
        ),
        Column(
            key="infer_merged_ratio",
            label="merged inference / bare",
            group="time",
            home="profile",
            says="The same after merge() folded what can be folded into the backbone's weights.",
            formula="median over rounds of the ratio within a round, with a bootstrap interval",
            meter="bench profile",
            error="equals the unmerged figure for what cannot be merged",
        ),
        Column(
            key="infer_single_ratio",
            label="inference time / bare, batch 1",
            group="time",
            home="profile",
            says="The same, unmerged, for a single example.",
            formula="median over rounds of the ratio within a round, with a bootstrap interval",
            meter="bench profile",
            error="at batch 1 the cost is calls, not FLOPs",
        ),
    )

    def doctor(self) -> tuple[Finding, ...]:
        return ()  # as for the time of a run


@dataclass(frozen=True)
class Ratio:
    """The time of one callable over the baseline's.

    Attributes:
        ratio: median over the rounds of its seconds over the baseline's in the same round.
        low: lower end of the bootstrap interval of that median.
        high: upper end.
        p50_ms: median milliseconds of a call, on this machine.
        p95_ms: 95th percentile.
        rounds: how many rounds they rest on.
        wide: whether the interval is wider than the tolerated share of the ratio, or rests on fewer than
            10 rounds: measure again.
    """

    ratio: float
    low: float
    high: float
    p50_ms: float
    p95_ms: float
    rounds: int
    wide: bool


class StepError(RuntimeError):
    """A callable raised; `__cause__` says what.

    Attributes:
        name: which one.
        seconds: (complete rounds, names) measured before it did.
    """

    def __init__(self, name: str, seconds: Seconds) -> None:
        super().__init__(f"{name} failed after {len(seconds)} complete rounds")
        self.name = name
        self.seconds = seconds


def interleave(
    steps: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    seed: int,
    warm_ups: int = 3,
    synchronize: Callable[[], None] | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Times every step once a round, in an order drawn anew for each round.

    Args:
        steps: what to time, by name.
        rounds: how many rounds; 30 or more for an interval worth showing.
        seed: of the orders.
        warm_ups: rounds before, not recorded; at least 3.
        synchronize: waits for the device; called before and after every step (`clock.synchronizer`).
        now: gives the time in seconds.

    Returns:
        Seconds of each call, (rounds, names), in the order of `steps`.

    Raises:
        ValueError: nothing to time, or too few rounds or warm-ups.
        StepError: a step raised.
    """
    if not steps or rounds < 1 or warm_ups < 3:
        raise ValueError("interleave needs a step, a round and three warm-ups at least")
    names, generator = list(steps), np.random.default_rng(seed)
    seconds = np.full((rounds, len(names)), np.nan)
    wait = synchronize or _nothing
    for number in range(-warm_ups, rounds):
        for column in generator.permutation(len(names)):
            try:
                wait()
                begin = now()
                steps[names[column]]()
                wait()
                elapsed = now() - begin
            except Exception as error:
                raise StepError(names[column], seconds[: max(number, 0)].copy()) from error
            if number >= 0:
                seconds[number, column] = elapsed
    return seconds


def ratios(
    seconds: Seconds,
    names: Sequence[str],
    *,
    baseline: str,
    generator: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
    wide_share: float = 0.1,
) -> dict[str, Ratio]:
    """Each name's time over the baseline's, with a percentile bootstrap interval over the rounds.

    Args:
        seconds: (rounds, names), from `interleave`.
        names: of the columns.
        baseline: the name whose ratio is 1.
        generator: draws the resamples; the same rounds are drawn for every name.
        resamples: how many.
        confidence: of the interval.
        wide_share: an interval wider than this share of its ratio is flagged.

    Raises:
        ValueError: shapes that do not fit, an unknown baseline, or seconds that are no positive numbers.
    """
    seconds = np.asarray(seconds, dtype=np.float64)
    if seconds.ndim != 2 or seconds.shape[0] < 1 or seconds.shape[1] != len(names):
        raise ValueError(f"seconds of shape {seconds.shape} for {len(names)} names; want (rounds, names)")
    if baseline not in names:
        raise ValueError(f"the baseline {baseline!r} is not among {', '.join(names)}")
    if not (np.isfinite(seconds).all() and (seconds > 0).all()):
        raise ValueError("every measured time must be a positive number of seconds")
    rounds = len(seconds)
    per_round = seconds / seconds[:, [names.index(baseline)]]
    drawn = generator.integers(rounds, size=(resamples, rounds))
    tail = (1 - confidence) / 2
    result = {}
    for column, name in enumerate(names):
        medians = np.median(per_round[:, column][drawn], axis=1)
        ratio = float(np.median(per_round[:, column]))
        low, high = (float(end) for end in np.quantile(medians, (tail, 1 - tail)))
        p50_ms, p95_ms = (float(1e3 * end) for end in np.quantile(seconds[:, column], (0.5, 0.95)))
        wide = rounds < FEW_ROUNDS or high - low > wide_share * ratio
        result[name] = Ratio(ratio, low, high, p50_ms, p95_ms, rounds, wide)
    return result


def _nothing() -> None:
    pass
