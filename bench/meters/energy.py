"""Energy and CO2e of a phase by codecarbon's offline tracker, each component with its source.

codecarbon swallows its own errors and fills gaps with guesses. Here a swallowed error becomes an absent
figure with a reason, and a guess is called an estimate. It makes no network call and writes no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar

from bench.meters.column import Column, Phase
from bench.meters.instruments.tracker import Overheard, SourceOf, TrackerReading, overhear, read_tracker
from bench.meters.meter import Absent, Conditions, Figures, Finding, Meter, Note, Observed

JOULES_PER_KWH = 3.6e6
COMPONENTS = ("cpu", "gpu", "memory")

TrackerFactory = Callable[..., Any]

_METER = "codecarbon's offline tracker, machine scope, per component with its source"
_ESTIMATE = (
    "CPU: time x TDP x (0.1 + 0.9 load^3), load of the whole machine from 0 to 1; memory: time x 5 W a slot (1.5 W on "
    "ARM), the slots guessed from the machine's size; PUE 1"
)
_REMEDIES = {
    "cpu": "allow reading /sys/class/powercap/intel-rapl (RAPL), on a machine that has it",
    "gpu": "an NVIDIA GPU with an energy counter and pynvml",
    "memory": "a CPU whose RAPL covers DRAM",
}


class Energy(Meter):
    """Meters the energy of both phases, without their pauses.

    Args:
        tracker: makes a tracker; a test passes its own.
    """

    name: ClassVar[str] = "energy"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="train_energy_measured_joules",
            label="training energy, measured",
            unit="J",
            group="energy",
            phase="train",
            says="Energy of the train phase read from the hardware's counters (RAPL, NVML).",
            formula="sum over the components that have a counter",
            meter=_METER,
            error="whole machine; absent where there is no counter",
        ),
        Column(
            key="train_energy_estimated_joules",
            label="training energy, estimated",
            unit="J",
            group="energy",
            phase="train",
            estimated=True,
            says="Energy of the train phase of the components without a counter, as codecarbon estimates it.",
            formula=_ESTIMATE,
            meter=_METER,
            error=(
                "a model of the machine, not a measurement: whatever else runs on it raises the CPU's share, and memory "
                "is wall time times a constant; it must not rank methods and is never added to measured joules"
            ),
        ),
        Column(
            key="train_co2e_kg",
            label="training CO2e",
            unit="kg",
            group="energy",
            phase="train",
            estimated=True,
            says="Emissions of the train phase.",
            formula="energy x PUE x the yearly mean carbon intensity of the country's grid",
            meter=_METER,
            error=(
                "always an estimate; absent unless --country was given; the PUE is 1 unless --pue was given, and stands "
                "in the record; joules never contain it"
            ),
        ),
        Column(
            key="infer_energy_measured_joules",
            label="test energy, measured",
            unit="J",
            group="energy",
            phase="infer",
            says="Energy of the infer phase read from the hardware's counters.",
            formula="sum over the components that have a counter",
            meter=_METER,
            error="whole machine; absent where there is no counter",
        ),
        Column(
            key="infer_energy_estimated_joules",
            label="test energy, estimated",
            unit="J",
            group="energy",
            phase="infer",
            estimated=True,
            says="Energy of the infer phase of the components without a counter, as codecarbon estimates it.",
            formula=_ESTIMATE,
            meter=_METER,
            error="as for training",
        ),
        Column(
            key="infer_co2e_kg",
            label="test CO2e",
            unit="kg",
            group="energy",
            phase="infer",
            estimated=True,
            says="Emissions of the infer phase.",
            formula="energy x PUE x the yearly mean carbon intensity of the country's grid",
            meter=_METER,
            error="as for training",
        ),
    )

    def __init__(self, tracker: TrackerFactory | None = None) -> None:
        self._tracker = tracker
        self._country: str | None = None
        self._pue = 1.0
        self._meters: dict[Phase, EnergyMeter] = {}

    def unsupported(self, conditions: Conditions) -> str | None:
        return conditions.untimed if conditions.measures.energy else "energy was not metered"

    def prepare(self, conditions: Conditions) -> None:
        self._country, self._pue = conditions.measures.country, conditions.measures.pue
        warm_up(tracker=self._tracker)  # the first tracker of a process takes seconds to start

    def start(self, phase: Phase) -> None:
        if phase not in self._meters:
            self._meters[phase] = EnergyMeter(country=self._country, pue=self._pue, tracker=self._tracker)
        self._meters[phase].start()

    def stop(self, phase: Phase) -> None:
        self._meters[phase].stop()

    def observed(self, seen: Observed) -> Figures:
        total = self._meters[seen.phase].total()
        measured, estimated, co2e = _told(total)
        if seen.phase == "train":
            return {
                "train_energy_measured_joules": measured,
                "train_energy_estimated_joules": estimated,
                "train_co2e_kg": co2e,
                "energy_detail": Note({"train": _detail(total)}),
            }
        return {
            "infer_energy_measured_joules": measured,
            "infer_energy_estimated_joules": estimated,
            "infer_co2e_kg": co2e,
            "energy_detail": Note({"infer": _detail(total)}),
        }

    def doctor(self) -> Iterator[Finding]:
        figures = warm_up()
        for name, remedy in _REMEDIES.items():
            part: ComponentEnergy = getattr(figures, name)
            if part.source is None:
                how = part.reason or figures.reason or "no figure"
                yield Finding(f"energy: {name}", "absent", how, remedy)
            elif part.source == "estimated":
                yield Finding(f"energy: {name}", "estimated", part.detail or "a model", remedy)
            else:
                yield Finding(f"energy: {name}", "measured", f"{part.source}: {part.detail}")


def _told(total: EnergyFigures) -> tuple[float | Absent, float | Absent, float | Absent]:
    """Measured joules, estimated joules and CO2e, or why there are none."""
    measured, estimated, co2e = total.measured_joules, total.estimated_joules, total.co2e_kg
    # Where one of the two is there, the reason is the CO2e's.
    lost = total.reason if measured is None and estimated is None else None
    return (
        Absent(lost or "no counter here") if measured is None else measured,
        Absent(lost or "every component has a counter") if estimated is None else estimated,
        Absent(total.reason or "no energy was read") if co2e is None else co2e,
    )


def _detail(total: EnergyFigures) -> dict[str, Any]:
    """What the joules rest on: by component its joules and their source, and whose power an estimate is of."""
    parts = {
        name: {"joules": part.energy_joules, "source": part.source, "how": part.detail}
        for name in COMPONENTS
        if (part := getattr(total, name)).energy_joules is not None
    }
    return parts | {"scope": total.scope, "tdp_w": total.tdp_w, "tdp_origin": total.tdp_origin, "pue": total.pue}


@dataclass(frozen=True)
class ComponentEnergy:
    """Energy of one component of the machine; None with a reason where there is no figure.

    Attributes:
        energy_joules: over the phase.
        co2e_kg: its share of the emissions.
        source: `rapl` and `nvml` are counters of the hardware; `estimated` is a model; None: no figure.
        detail: how codecarbon came by it.
        reason: why the figures are None.
    """

    energy_joules: float | None
    co2e_kg: float | None
    source: SourceOf | None
    detail: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class EnergyFigures:
    """Energy of one phase. Measured and estimated joules are never added up.

    Attributes:
        cpu, gpu, memory: the components.
        measured_joules: the sum over the components read from counters; None if there is none.
        estimated_joules: the sum over the estimated ones; None if there is none.
        co2e_kg: energy times `pue` times the yearly mean carbon intensity of the country's grid, which is
            an estimate always; it covers measured and estimated components.
        country: three-letter ISO code; None if not given.
        scope: `machine`: everything that ran on it counts.
        tdp_w: the CPU's power that the estimate rests on; None where the CPU was measured.
        tdp_origin: where that number is from.
        segments: how many stretches were added up; one more than there were pauses.
        reason: why figures are None.
    """

    cpu: ComponentEnergy
    gpu: ComponentEnergy
    memory: ComponentEnergy
    measured_joules: float | None
    estimated_joules: float | None
    co2e_kg: float | None
    country: str | None
    scope: str
    tdp_w: float | None
    tdp_origin: str | None
    segments: int
    reason: str | None = None
    pue: float = 1.0
    """Power usage effectiveness of the data centre: in the CO2e, never in the joules, which are the machine's."""


class EnergyMeter:
    """Measures the energy of its block, which may raise, without the pauses in it.

        warm_up()                                       # before any clock: the first start takes seconds
        with EnergyMeter(country="FRA") as meter, clock.phase("train"):
            step()
            with clock.paused(), meter.paused():
                evaluate()
        meter.figures.measured_joules

    Args:
        country: three-letter ISO code of the grid's country; None: no CO2e.
        pue: power usage effectiveness of the data centre; it multiplies the CO2e, never the joules.
        options: more options of the tracker.
        tracker: makes a tracker; a test passes its own.
    """

    figures: EnergyFigures

    def __init__(
        self,
        *,
        country: str | None = None,
        pue: float = 1.0,
        options: Mapping[str, Any] | None = None,
        tracker: TrackerFactory | None = None,
    ) -> None:
        self._country = None if country is None else country.upper()
        self._pue = pue
        self._options = dict(options or {})
        self._factory = tracker or _offline_tracker
        self._tracker: Any = None
        self._readings: list[TrackerReading] = []
        self._overheard = Overheard()
        self._co2e_reason = "no country was given" if country is None else None

    def __enter__(self) -> EnergyMeter:
        self.figures = absent_energy("the phase has not ended")
        self._readings = []
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.figures = self.total()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the block out: stops the tracker, and starts another one after it."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def start(self) -> None:
        """Begins a stretch with a tracker of its own."""
        with overhear() as self._overheard:
            try:
                self._tracker = self._factory(**self._settings())
                self._tracker.start()
            except Exception as error:  # whatever a third party's tracker throws, the run goes on
                self._tracker = None
                self._overheard.note(error)

    def stop(self) -> None:
        """Ends a stretch and keeps what its tracker read."""
        tracker, self._tracker = self._tracker, None
        if tracker is None:
            self._readings.append(TrackerReading(reason=self._overheard.reason("the tracker did not start")))
            return
        with overhear(self._overheard):
            reading = read_tracker(tracker, self._overheard)
        self._readings.append(reading)

    def _settings(self) -> dict[str, Any]:
        """Every option that could reach the network or a file, or change a figure unseen, is set here.

        codecarbon reads what is not set from ~/.codecarbon.config, .codecarbon.config and CODECARBON_*.
        """
        settings: dict[str, Any] = {
            "output_methods": [],
            "output_handlers": [],
            "emissions_endpoint": None,
            "electricitymaps_api_token": "",  # not None: that makes it look for a deprecated one
            "tracking_mode": "machine",
            "log_level": "warning",
            "force_cpu_power": None,
            "force_ram_power": None,
            "force_mode_cpu_load": False,
            "force_carbon_intensity_g_co2e_kwh": None,
            "rapl_include_dram": False,
            "rapl_prefer_psys": False,
            "pue": 1.0,  # codecarbon would multiply measured joules by it
            "wue": 0.0,
        }
        if self._factory is _offline_tracker:
            settings |= {"cloud_provider": None, "cloud_region": None, "region": None}
        if self._co2e_reason is None and self._factory is _offline_tracker and self._country not in countries():
            self._co2e_reason = f"codecarbon has no energy mix for the country {self._country!r}"
        if self._co2e_reason is None:
            settings["country_iso_code"] = self._country
        else:  # or codecarbon takes the world's mean without a word in its figures
            settings["force_carbon_intensity_g_co2e_kwh"] = 0.0
        return settings | self._options

    def total(self) -> EnergyFigures:
        """The energy of all stretches so far; none of it where one of them failed, for the sum would be too small."""
        failed = [reading.reason for reading in self._readings if reading.reason]
        if failed:
            stretches = f" ({len(failed)} of {len(self._readings)} stretches)" if len(self._readings) > 1 else ""
            return absent_energy(failed[0] + stretches)
        components = {name: self._component(name) for name in COMPONENTS}
        first = self._readings[0]
        guessed = components["cpu"].source == "estimated"
        return EnergyFigures(
            **components,
            measured_joules=_sum(c.energy_joules for c in components.values() if c.source != "estimated"),
            estimated_joules=_sum(c.energy_joules for c in components.values() if c.source == "estimated"),
            co2e_kg=_sum(component.co2e_kg for component in components.values()),
            country=self._country,
            scope=first.scope,
            tdp_w=first.tdp_w if guessed else None,
            tdp_origin=first.tdp_origin if guessed else None,
            segments=len(self._readings),
            reason=self._co2e_reason,
            pue=self._pue,
        )

    def _component(self, name: str) -> ComponentEnergy:
        parts = [reading.parts.get(name) for reading in self._readings]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or not known:
            return ComponentEnergy(None, None, None, reason=f"codecarbon tracks no {name} here")
        sources = {part.source for part in known}
        joules = JOULES_PER_KWH * sum(part.energy_kwh for part in known)
        if joules <= 0:
            nothing = f"codecarbon read no energy for the {name}"
            return ComponentEnergy(None, None, None, known[0].detail, nothing)
        co2e_kg = sum(part.energy_kwh * r.intensity for part, r in zip(known, self._readings, strict=True))
        return ComponentEnergy(
            energy_joules=joules,
            co2e_kg=None if self._co2e_reason else co2e_kg * self._pue,
            source=known[0].source if len(sources) == 1 else "estimated",
            detail=known[0].detail,
        )


def absent_energy(reason: str) -> EnergyFigures:
    """Figures that are all None, and why."""
    nothing = ComponentEnergy(None, None, None, reason=reason)
    return EnergyFigures(nothing, nothing, nothing, None, None, None, None, "machine", None, None, 0, reason)


def warm_up(*, tracker: TrackerFactory | None = None) -> EnergyFigures:
    """Runs a throwaway tracker, which takes the first start's seconds, and tells what can be measured.

    Returns:
        Figures whose joules mean nothing; their sources, details and reasons hold for this machine.
    """
    meter = EnergyMeter(tracker=tracker)
    with meter:
        pass
    return meter.figures


def _offline_tracker(**settings: Any) -> Any:
    from codecarbon import OfflineEmissionsTracker

    return OfflineEmissionsTracker(**settings)


def countries() -> frozenset[str]:
    """The three-letter ISO codes of the countries whose energy mix codecarbon knows."""
    from codecarbon.input import DataSource

    return frozenset(DataSource().get_global_energy_mix_data())  # type: ignore[no-untyped-call]


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
