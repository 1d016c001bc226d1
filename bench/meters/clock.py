"""Observed time: phases that can be paused, and the throughput that follows from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from bench.meters.column import Column
from bench.meters.meter import Absent, Conditions, Figures, Finding, Meter, Observed

if TYPE_CHECKING:
    import torch


class Time(Meter):
    """Says what follows from the clock's seconds. The clock itself is the run's, for it starts and stops all meters."""

    name: ClassVar[str] = "time"
    place: ClassVar[int] = 20
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="train_time_s",
            label="train s",
            unit="s",
            group="time",
            phase="train",
            home="result",
            says="Observed seconds of a run's training steps; loading, tokenising and evaluation stop the clock.",
            formula="wall clock around the steps, the device synchronised at both ends",
            meter="time.perf_counter",
            error="runs follow one another on a machine that drifts by 10%: no fair ratio between methods; malloc keeps "
            "freed blocks unless --allocator system, and runs under different allocators do not compare",
        ),
        Column(
            key="infer_time_s",
            label="test s",
            unit="s",
            group="time",
            phase="infer",
            home="result",
            says="Observed seconds of the forward passes over the test rows.",
            formula="wall clock around them, the device synchronised at both ends",
            meter="time.perf_counter",
            error="as for train s",
        ),
        Column(
            key="train_examples_per_s",
            label="training examples/s",
            unit="1/s",
            group="time",
            phase="train",
            follows="train_time_s",
            better="higher",
            says="Training throughput.",
            formula="examples trained on (with repetition) / train_time_s",
            meter="time.perf_counter",
            error="as for train s",
        ),
        Column(
            key="infer_examples_per_s",
            label="test examples/s",
            unit="1/s",
            group="time",
            phase="infer",
            follows="infer_time_s",
            better="higher",
            says="Inference throughput.",
            formula="test rows / infer_time_s",
            meter="time.perf_counter",
            error="as for train s",
        ),
        Column(
            key="train_useful_tokens_per_s",
            label="useful training tokens/s",
            unit="1/s",
            group="time",
            phase="train",
            follows="train_time_s",
            better="higher",
            says="Training throughput in tokens of the texts, without padding.",
            formula="train_useful_tokens / train_time_s",
            meter="time.perf_counter",
            error="the time that padding takes is in it, so batches of like length raise it; else as for train s",
        ),
        Column(
            key="infer_useful_tokens_per_s",
            label="useful test tokens/s",
            unit="1/s",
            group="time",
            phase="infer",
            follows="infer_time_s",
            better="higher",
            says="Inference throughput in tokens of the texts, without padding.",
            formula="infer_useful_tokens / infer_time_s",
            meter="time.perf_counter",
            error="as for the training",
        ),
        Column(
            key="train_tokens_per_s",
            label="training tokens/s, padding included",
            unit="1/s",
            group="time",
            phase="train",
            follows="train_time_s",
            better="higher",
            says="Training throughput in padded tokens.",
            formula="rows x padded length, summed over the run's batches / train_time_s",
            meter="time.perf_counter",
            error="padding counts as work, since it is computed; else as for train s",
        ),
        Column(
            key="infer_tokens_per_s",
            label="test tokens/s, padding included",
            unit="1/s",
            group="time",
            phase="infer",
            follows="infer_time_s",
            better="higher",
            says="Inference throughput in padded tokens.",
            formula="rows x padded length, summed over the test batches / infer_time_s",
            meter="time.perf_counter",
            error="as for the training",
        ),
    )

    def unsupported(self, conditions: Conditions) -> str | None:
        return conditions.untimed

    def observed(self, seen: Observed) -> Figures:
        nothing = Absent("no time passed")
        examples, useful, tokens = (
            work / seen.seconds if seen.seconds else nothing
            for work in (seen.examples, seen.useful_tokens, seen.tokens)
        )
        if seen.phase == "train":
            return {
                "train_examples_per_s": examples,
                "train_useful_tokens_per_s": useful,
                "train_tokens_per_s": tokens,
            }
        return {"infer_examples_per_s": examples, "infer_useful_tokens_per_s": useful, "infer_tokens_per_s": tokens}

    def doctor(self) -> Iterator[Finding]:
        yield Finding("time", "measured", "time.perf_counter, the device synchronised at both ends")


@dataclass(frozen=True)
class PhaseTime:
    """The observed time of one phase.

    Attributes:
        name: the phase, such as `train`.
        observed_s: seconds inside the phase, without its pauses; summed over its entries.
        paused_s: seconds of its pauses.
        entries: how often it was entered.
        interrupted: whether an exception left it; the seconds up to there count.
    """

    name: str
    observed_s: float
    paused_s: float = 0.0
    entries: int = 1
    interrupted: bool = False


class Clock:
    """Adds up the seconds of named phases; whatever lies outside a phase or in a pause costs nothing.

        with clock.phase("train"):
            step()
            with clock.paused():
                evaluate()
        clock.seconds("train")

    A phase that raises still stops and reports.

    Args:
        now: gives the time in seconds, from any origin; a test passes a fake one.
        synchronize: waits for the device's queued work. It runs at every edge, so that work counts
            where it was asked for: before the clock starts, stops, pauses and resumes.
    """

    def __init__(
        self, *, now: Callable[[], float] = time.perf_counter, synchronize: Callable[[], None] | None = None
    ) -> None:
        self._now = now
        self._synchronize = synchronize
        self._phases: dict[str, PhaseTime] = {}
        self._current: str | None = None
        self._since: float | None = None  # start of the running stretch; None while paused
        self._paused_since = 0.0
        self._observed = 0.0
        self._paused = 0.0

    @property
    def phases(self) -> dict[str, PhaseTime]:
        """The phases that have ended, by name."""
        return dict(self._phases)

    def seconds(self, name: str) -> float | None:
        """The observed seconds of a phase; None if it never ran."""
        phase = self._phases.get(name)
        return None if phase is None else phase.observed_s

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block as part of phase `name`.

        Raises:
            RuntimeError: another phase is running.
        """
        if self._current is not None:
            raise RuntimeError(f"phase {name!r} starts inside phase {self._current!r}")
        self._current, self._observed, self._paused = name, 0.0, 0.0
        self._since = self._edge()
        interrupted = True
        try:
            yield
            interrupted = False
        finally:
            self._end(name, interrupted)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the current phase for the block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def pause(self) -> None:
        """Stops the current phase until `resume`.

        Raises:
            RuntimeError: no phase is running, or it is paused.
        """
        if self._current is None or self._since is None:
            raise RuntimeError("no phase is running that could be paused")
        edge = self._edge()
        self._observed += edge - self._since
        self._since, self._paused_since = None, edge

    def resume(self) -> None:
        """Goes on with the paused phase.

        Raises:
            RuntimeError: no phase is paused.
        """
        if self._current is None or self._since is not None:
            raise RuntimeError("no phase is paused that could be resumed")
        edge = self._edge()
        self._paused += edge - self._paused_since
        self._since = edge

    def _end(self, name: str, interrupted: bool) -> None:
        try:
            edge = self._edge()
        except BaseException:  # a device that died: the time counts all the same, and the error goes on
            edge, interrupted = self._now(), True
            raise
        finally:
            if self._since is None:
                self._paused += edge - self._paused_since
            else:
                self._observed += edge - self._since
            before = self._phases.get(name, PhaseTime(name, 0.0, entries=0))
            self._phases[name] = PhaseTime(
                name=name,
                observed_s=before.observed_s + self._observed,
                paused_s=before.paused_s + self._paused,
                entries=before.entries + 1,
                interrupted=before.interrupted or interrupted,
            )
            self._current = self._since = None

    def _edge(self) -> float:
        if self._synchronize is not None:
            self._synchronize()
        return self._now()


def synchronizer(device: torch.device | str) -> Callable[[], None] | None:
    """What waits for the work queued on `device`; None where calls return only when it is done."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return partial(torch.cuda.synchronize, device)
    return torch.mps.synchronize if device.type == "mps" else None
