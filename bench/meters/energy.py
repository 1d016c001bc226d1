"""Energy and CO2e of a phase by codecarbon's offline tracker, each component with its source.

codecarbon swallows its own errors and fills gaps with guesses. Here a swallowed error becomes an absent
figure with a reason, and a guess is called an estimate. It makes no network call and writes no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from bench.meters.instruments.tracker import Overheard, Reading, SourceOf, overhear, read_tracker

JOULES_PER_KWH = 3.6e6
COMPONENTS = ("cpu", "gpu", "memory")

TrackerFactory = Callable[..., Any]


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
        cpu_power_w: the CPU's thermal design power, if known; else codecarbon looks or guesses.
        options: more options of the tracker.
        tracker: makes a tracker; a test passes its own.
    """

    figures: EnergyFigures

    def __init__(
        self,
        *,
        country: str | None = None,
        pue: float = 1.0,
        cpu_power_w: float | None = None,
        options: Mapping[str, Any] | None = None,
        tracker: TrackerFactory | None = None,
    ) -> None:
        self._country = None if country is None else country.upper()
        self._pue = pue
        self._cpu_power_w = cpu_power_w
        self._options = dict(options or {})
        self._factory = tracker or _offline_tracker
        self._tracker: Any = None
        self._readings: list[Reading] = []
        self._overheard = Overheard()
        self._co2e_reason = "no country was given" if country is None else None

    def __enter__(self) -> EnergyMeter:
        self.figures = absent_energy("the phase has not ended")
        self._readings = []
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self.figures = self._total()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the block out: stops the tracker, and starts another one after it."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def _start(self) -> None:
        with overhear() as self._overheard:
            try:
                self._tracker = self._factory(**self._settings())
                self._tracker.start()
            except Exception as error:  # whatever a third party's tracker throws, the run goes on
                self._tracker = None
                self._overheard.note(error)

    def _stop(self) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is None:
            self._readings.append(Reading(reason=self._overheard.reason("the tracker did not start")))
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
            "force_cpu_power": self._cpu_power_w,
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

    def _total(self) -> EnergyFigures:
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
