"""The contract of a meter: a class that declares its columns and measures them.

A meter is one file. It declares what each of its figures means (`columns`) beside the code that measures it, and the
harness calls its hooks at the right moments of a run. Nothing else in the project knows a meter by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from bench.meters.column import Column, Phase

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.records.spec import Measures, RunSpec
    from bench.training.prepared import Setting
    from methods.kit.base import Classifier

Shape: TypeAlias = tuple[int, int]
"""Rows and padded length in tokens of a batch."""


@dataclass(frozen=True)
class Absent:
    """Stands for a figure that could not be measured.

    Attributes:
        reason: why, in words that fit behind a colon: `the device is cpu, not cuda`.
    """

    reason: str


@dataclass(frozen=True)
class Note:
    """Something to keep in the record beside the figures, such as what an estimate rests on. No table shows it.

    Attributes:
        value: anything that JSON can hold.
    """

    value: Any


Figures: TypeAlias = Mapping[str, "int | float | Absent | Note"]
"""What a hook returns: for each of the meter's keys that it is responsible for, a number or why there is none."""


class MeterError(RuntimeError):
    """A meter returned what it did not declare, or something that is no number."""


@dataclass(frozen=True)
class Conditions:
    """Where a run happens, before it begins.

    Attributes:
        device: `cpu`, `cuda` or `cuda:1`.
        measures: what was asked to be measured, such as `measures.country`.
        side_by_side: how many runs share the machine. With more than one, what others disturb, such as a time, is not to
            be measured: `untimed` says why.
    """

    device: str
    measures: Measures
    side_by_side: int = 1

    @property
    def untimed(self) -> str | None:
        """Why times and energy cannot be measured; None if they can."""
        return f"{self.side_by_side} runs were made side by side" if self.side_by_side > 1 else None


@dataclass(frozen=True)
class Observed:
    """A phase of a run that has ended.

    Attributes:
        phase: `train` or `infer`.
        seconds: of the clock, without pauses.
        examples: rows that were computed, with repetition.
        batches: (rows, padded length) -> how many batches of that shape.
        stored: what has to be kept to deploy the model, by name, as tensors without values (`meta`); empty for `train`.
        useful_tokens: of the texts in the batches, without padding.
    """

    phase: Phase
    seconds: float
    examples: int
    batches: Mapping[Shape, int] = field(default_factory=dict)
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    useful_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All tokens that were computed, padding included."""
        return sum(number * rows * length for (rows, length), number in self.batches.items())


@dataclass(frozen=True)
class Run:
    """A run's classifier and everything needed to run it again, for a pass that measures.

    Attributes:
        setting: the run's data, method and protocol (`bench.training.prepared.Setting`).
        batches: phase -> (rows, padded length) -> how many batches of that shape the run had.
    """

    setting: Setting
    batches: Mapping[Phase, Mapping[Shape, int]]

    @property
    def classifier(self) -> Classifier:
        """The model with its head; call it with keyword arguments, as with `batch()`."""
        return self.setting.classifier

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.setting.device

    def largest(self, phase: Phase) -> Shape:
        """The shape of the phase's largest batch: of the most tokens, then the longest."""
        return max(self.batches[phase], key=size_of)

    def batch(self, phase: Phase) -> dict[str, Tensor]:
        """A made-up batch of the shape of the phase's largest one, on the run's device."""
        from bench.costs.memory import padded_batch

        return padded_batch(self.largest(phase), self.device)


@dataclass(frozen=True)
class Alone:
    """A run for a meter that measures in a process of its own.

    Attributes:
        spec: what is run.
        train_shape: (rows, padded length) of the run's largest training batch.
        test_shape: the same of its largest test batch.
    """

    spec: RunSpec
    train_shape: Shape
    test_shape: Shape

    def prepare(self) -> Setting:
        """Loads data and weights and adapts a classifier, as the run did. Imports torch, if nothing has yet."""
        from transformers.utils import logging

        from bench.training.prepared import prepare

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return prepare(self.spec)


@dataclass(frozen=True)
class Finding:
    """What `bench doctor` says of one meter or need.

    Attributes:
        what: the meter or need.
        state: of a meter `measured`, `estimated` or `absent`; of a need `ok` or `missing`.
        how: what it rests on.
        remedy: what to install or permit; None if nothing is amiss.
        vital: whether the main job cannot run without it.
    """

    what: str
    state: Literal["measured", "estimated", "absent", "ok", "missing"]
    how: str
    remedy: str | None = None
    vital: bool = False


class Meter:
    """Measures costs of a run and declares what they mean.

    A subclass has a `name`, its `columns`, and at least one of the hooks below; each hook has a default that does
    nothing. One instance is made for each run, so it may keep what it needs between hooks. Hooks are called in this
    order:

    1. `unsupported` and `prepare`, once the model is loaded, before any clock runs;
    2. `start` and `stop` around each stretch of the phases `train` and `infer`; a phase with a pause (an evaluation on
       the dev rows) has several stretches. Both are outside the clock;
    3. `observed`, once for each phase that ran;
    4. `deployed`, after scores, outputs and weights are on disk;
    5. `training`, on a classifier made anew that is thrown away;
    6. `alone`, in a process of its own, after the run.

    Of 3 to 6 a meter usually has one. Each returns, for the keys that it measured, a number, or `Absent("why")`. In the
    end each declared key must have one of both. A hook that raises, or returns something else, costs the meter's own
    figures, with the reason in the record; it never costs the run or its scores.

    Do not import torch at the top of a meter's file: reports read the columns without it.

    Examples:
        >>> import time
        >>> class CpuTime(Meter):
        ...     name = "cpu-time"
        ...     columns = (Column(
        ...         key="train_cpu_s", label="training CPU time", unit="s", group="time", phase="train",
        ...         says="CPU seconds of the training steps, summed over threads.",
        ...         formula="process time after less process time before", meter="time.process_time",
        ...         error="other threads of the process count too",
        ...     ),)
        ...     seconds = 0.0
        ...     def start(self, phase):
        ...         self.began = time.process_time()
        ...     def stop(self, phase):
        ...         if phase == "train":
        ...             self.seconds += time.process_time() - self.began
        ...     def observed(self, seen):
        ...         return {"train_cpu_s": self.seconds} if seen.phase == "train" else {}
    """

    name: ClassVar[str]
    """What `bench list meters` and messages call it."""
    columns: ClassVar[Sequence[Column]]
    """The figures that it measures, in the order in which tables show them."""
    every_seed: ClassVar[bool] = True
    """Whether it measures in each run; else at the first seed of each method, task and K that finishes. Choose that for
    what hardly differs by seed and takes a pass of its own."""
    packages: ClassVar[Sequence[str]] = ()
    """Modules that have to be installed, beside those that tunebench needs."""
    place: ClassVar[int] = 50
    """Where its columns stand among those of their group; lower is further left."""

    def unsupported(self, conditions: Conditions) -> str | None:
        """Why it cannot measure here, such as for want of a device or a package; None if it can."""
        missing = [package for package in self.packages if find_spec(package) is None]
        return f"{', '.join(missing)} not installed" if missing else None

    def prepare(self, conditions: Conditions) -> None:
        """Does what must happen before the first clock runs, such as a start that takes seconds."""

    def start(self, phase: Phase) -> None:
        """Begins a stretch of a phase; the clock starts right after."""

    def stop(self, phase: Phase) -> None:
        """Ends a stretch; the clock has just stopped. Called also where the stretch raised."""

    def observed(self, seen: Observed) -> Figures:
        """Figures of a phase that has ended."""
        return {}

    def deployed(self, run: Run) -> Figures:
        """Figures of the trained classifier as it is deployed; it must be left as it is.

        A pass that changes a trained tensor fails the run.
        """
        return {}

    def training(self, run: Run) -> Figures:
        """Figures of training; `run.classifier` is a new one that may be trained, and is thrown away.

        Not called where nothing is trained.
        """
        return {}

    def alone(self, run: Alone) -> Figures:
        """Figures that need a process of their own; the hook is called first in it, before torch is imported."""
        return {}

    def doctor(self) -> Iterable[Finding]:
        """What it can measure on this machine, for `bench doctor`; a few seconds at most."""
        reason = self.unsupported(_here())
        state: Literal["measured", "absent"] = "measured" if reason is None else "absent"
        yield Finding(self.name, state, reason or ", ".join(dict.fromkeys(column.meter for column in self.columns)))


def _here() -> Conditions:
    import torch

    from bench.records.spec import Measures

    return Conditions("cuda" if torch.cuda.is_available() else "cpu", Measures())


def measured_keys(meter: type[Meter] | Meter) -> tuple[str, ...]:
    """The keys that a meter itself has to answer for; of its other columns the run or the report knows the figure."""
    return tuple(column.key for column in meter.columns if column.home == "costs")


def size_of(shape: Shape) -> tuple[int, int]:
    """What makes a batch large: its tokens, then its length."""
    return shape[0] * shape[1], shape[1]


def refuse_undeclared(meter: Meter, figures: object) -> None:
    """Checks what a hook returned.

    Raises:
        MeterError: a key that the meter does not declare, or a value that is no finite number, `Absent` or `Note`. The
            message names the meter and the key.

    Examples:
        >>> class Faults(Meter):
        ...     name, columns = "faults", ()
        >>> refuse_undeclared(Faults(), {"page_faults": 3})
        Traceback (most recent call last):
        bench.meters.meter.MeterError: meter faults returned page_faults, which none of its columns declares
    """
    if not isinstance(figures, Mapping):
        raise MeterError(f"meter {meter.name} returned {_kind(figures)}; return a dict of key -> number or Absent")
    declared = measured_keys(meter)
    for key, value in figures.items():
        if isinstance(value, Note):
            continue
        if key not in declared:
            raise MeterError(f"meter {meter.name} returned {key}, which none of its columns declares")
        if isinstance(value, Absent):
            if not (isinstance(value.reason, str) and value.reason.strip()):
                raise MeterError(f"meter {meter.name} returned {key} as Absent without a reason")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise MeterError(f"meter {meter.name} returned {_kind(value)} for {key}; return a number or Absent")
        elif not math.isfinite(value):
            raise MeterError(f"meter {meter.name} returned {value} for {key}; return Absent where there is no figure")


def _kind(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"[:80]
