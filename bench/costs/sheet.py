"""The costs of one run: calls its meters at each stage and keeps what they return, or why they returned nothing.

Nothing here runs inside a clock. The run has been scored before any pass that measures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import described
from bench.meters.column import Phase
from bench.meters.instruments.stand_ins import on_meta, untouched
from bench.meters.meter import (
    Absent,
    Conditions,
    Figures,
    Meter,
    Note,
    Observed,
    Run,
    Shape,
    refuse_undeclared,
    size_of,
)
from bench.records.record import STILL_ALONE, Costs
from bench.training.prepared import Setting

if TYPE_CHECKING:
    from bench.meters.phases import Phases
    from bench.records.spec import Measures
    from bench.registry.meters import ResolvedMeter

UNMEASURED = "the run ended before it was measured"  # these four are reasons of absent figures
ELSEWHERE = "measured at another seed of this method, task and K"
UNTRAINED = "nothing is trained"
UNTESTED = "a trial is not tested"


@dataclass(frozen=True)
class RunMeters:
    """The meters of one run: those that can measure here, and why the others cannot.

    Attributes:
        resolved: all of them, with where their code comes from.
        refused: name -> why this meter cannot measure here.
    """

    resolved: Sequence[ResolvedMeter] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def able(self) -> list[Meter]:
        """The meters that can measure here."""
        return [each.meter for each in self.resolved if each.meter.name not in self.refused]


def prepared_meters(
    measures: Measures, *, device: str, meters: Sequence[ResolvedMeter] | None = None, side_by_side: int = 1
) -> RunMeters:
    """Makes a run's meters and prepares those that can measure here. Call it before any clock runs.

    Args:
        measures: what is measured. Without costs there are no meters.
        device: the device of the run, as torch names it.
        meters: the meters of the run; None takes the shipped ones and those that `measures` names.
        side_by_side: how many runs share the machine.

    Raises:
        UserError: `measures` names something that is not a meter, or is not there any more.
    """
    from bench.registry.meters import run_meters

    if not measures.costs:
        return RunMeters()
    resolved = run_meters(measures.meters) if meters is None else meters
    conditions = Conditions(device, measures, side_by_side)
    refused = {each.meter.name: why for each in resolved if (why := _prepare(each.meter, conditions)) is not None}
    return RunMeters(resolved, refused)


def _prepare(meter: Meter, conditions: Conditions) -> str | None:
    """Prepares a meter. Returns why it cannot measure here, or None."""
    try:
        reason = meter.unsupported(conditions)
        if reason is None:
            meter.prepare(conditions)
    except Exception as error:  # an author's code may raise anything, and the run goes on without this meter
        return described(error)
    return reason


class CostSheet:
    """Collects a run's costs after it was scored. It knows no meter by name.

    Call `observe` first, `measure_inference` and `measure_training` once the scores are on disk, and `costs` at any
    time: what is still to be measured is absent with the reason.

    Args:
        setting: of the run. Its classifier is trained and ejected, and no measurement changes it.
        shapes: how many training batches there were of each (rows, padded length).
        meters: the meters of the run.
        first: whether meters that measure at only one seed of a method, task and K do so in this run.
    """

    def __init__(self, setting: Setting, shapes: Mapping[Shape, int], *, meters: RunMeters, first: bool = True) -> None:
        self._setting = setting
        self._meters = meters
        tested = Counter(_shape(batch.inputs) for batch in setting.test_batches())
        self._batches: dict[Phase, Mapping[Shape, int]] = {"train": Counter(shapes), "infer": tested}
        self._figures: dict[str, int | float] = {}
        self._notes: dict[str, Any] = {}
        self._absent: dict[str, str] = {}
        for each in meters.resolved:
            self._absent |= self._expected_absences(each.meter, first=first)
        # The shipped ones come last in `able`. Here they come first, so that no other changes what they measure.
        self._passes = [meter for meter in reversed(meters.able) if first or meter.every_seed]

    def _expected_absences(self, meter: Meter, *, first: bool) -> dict[str, str]:
        """The figures of a meter that will not be measured in this run: key -> reason."""
        refused = self._meters.refused.get(meter.name)
        here = first or meter.every_seed
        absent = {}
        for column in meter.columns:
            if column.follows is not None:
                continue
            if refused is not None and column.home in ("costs", "result"):
                absent[column.key] = refused
            elif column.home != "costs":
                continue
            elif column.phase == "train" and here and not self._batches["train"]:
                absent[column.key] = UNTRAINED
            elif column.phase != "train" and self._setting.spec.is_trial:
                absent[column.key] = UNTESTED
            elif not here:
                absent[column.key] = ELSEWHERE
            elif measures_alone(meter):
                absent[column.key] = STILL_ALONE
        return absent

    def note_absent(self, name: str, reason: str) -> None:
        """Notes the reason why a figure is missing."""
        self._absent[name] = reason

    def note_measured(self, name: str) -> None:
        """Removes the reason that `note_absent` noted, since the figure was measured after all."""
        self._absent.pop(name, None)

    def observe(self, phases: Phases, *, train_examples: int, train_useful_tokens: int) -> None:
        """Collects the figures of the meters that watched the phases. No meter is given a tensor with values.

        Args:
            phases: have ended.
            train_examples: rows that were trained on, with repetition.
            train_useful_tokens: their tokens, without padding.
        """
        stored = {name: on_meta(tensor) for name, tensor in self._setting.stored_state().items()}
        examples: dict[Phase, int] = {"train": train_examples, "infer": len(self._setting.test)}
        useful: dict[Phase, int] = {"train": train_useful_tokens, "infer": self._setting.test.useful_tokens()}
        for phase, batches in self._batches.items():
            seconds = phases.seconds(phase)
            if seconds is None:
                continue
            kept = stored if phase == "infer" else {}
            seen = Observed(phase, seconds, examples[phase], batches, kept, useful[phase])
            for meter in self._meters.able:
                if meter.name in phases.failed:
                    self._lose(meter, phases.failed[meter.name], phase)
                else:
                    self._take(meter, phase, meter.observed, seen)

    def measure_inference(self) -> None:
        """Lets the meters measure passes of the trained classifier as it is deployed."""
        for meter in self._passes:
            self._take(meter, "infer", meter.deployed, Run(self._setting, self._batches))

    def measure_training(self) -> None:
        """Lets the meters measure training steps, on a new classifier that is thrown away afterwards."""
        meters = [meter for meter in self._passes if type(meter).training is not Meter.training]
        if not meters or not self._batches["train"]:
            return
        with untouched(self._setting.classifier):  # the random state
            try:
                fresh = self._setting.untrained()
            except Exception as error:  # what a method does to a meter costs the figures, not the run
                for meter in meters:
                    self._lose(meter, described(error), "train")
                return
            for meter in meters:
                self._take(meter, "train", meter.training, Run(fresh, self._batches))

    def _take(self, meter: Meter, phase: Phase, hook: Callable[[Any], Figures], seen: object) -> None:
        """Calls a hook of a meter and keeps its figures; if it fails, keeps the reason for each figure it declares."""
        try:
            figures = hook(seen)
            refuse_undeclared(meter, figures)
        except Exception as error:  # what a method does to a meter, or a meter to itself, costs the figures alone
            self._lose(meter, described(error), phase)
            return
        for key, value in figures.items():
            if isinstance(value, Note):
                self._note(key, value.value)
            elif isinstance(value, Absent):
                self._absent[key] = value.reason
            else:
                self._figures[key] = value
                self._absent.pop(key, None)

    def _note(self, key: str, value: Any) -> None:
        """Keeps a note; where both phases give one under the same key, their dictionaries are joined."""
        before = self._notes.get(key)
        self._notes[key] = before | value if isinstance(before, dict) and isinstance(value, dict) else value

    def _lose(self, meter: Meter, reason: str, phase: Phase) -> None:
        for column in meter.columns:
            owed = column.home == "costs" and column.phase in (phase, None) and column.follows is None
            if owed and column.key not in self._figures:
                self._absent[column.key] = reason

    def costs(self, *, ended: bool = False) -> Costs:
        """The costs measured so far.

        Args:
            ended: whether everything that is measured in this process has been measured. A figure that is still
                missing is then blamed on its meter.
        """
        absent = dict(self._absent)
        for each in self._meters.resolved:
            for column in each.meter.columns:
                if self._is_owed(column.key, column.home, column.follows, absent):
                    owes = f"meter {each.meter.name} returned neither a number nor a reason"
                    absent[column.key] = owes if ended else UNMEASURED
        return Costs(
            figures=self._figures,
            absent=absent,
            notes=self._notes,
            columns=[column for each in self._meters.resolved if each.source for column in each.meter.columns],
            meters={each.name: each.source for each in self._meters.resolved if each.source},
        )

    def _is_owed(self, key: str, home: str, follows: str | None, absent: Mapping[str, str]) -> bool:
        if home != "costs" or key in self._figures or key in absent:
            return False
        # A figure that follows from another one is missing together with it, and needs no reason of its own.
        return follows is None or follows in self._figures


def measures_alone(meter: Meter) -> bool:
    """Whether a meter needs a separate process, that is, whether it defines `alone`."""
    return type(meter).alone is not Meter.alone


def _shape(inputs: Mapping[str, Any]) -> Shape:
    rows, length = inputs["input_ids"].shape
    return rows, length


def largest(shapes: Iterable[Shape]) -> Shape | None:
    """The shape of the largest batch; None if there are no batches."""
    return max(shapes, key=size_of, default=None)
