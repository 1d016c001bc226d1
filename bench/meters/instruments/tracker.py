"""Reads a codecarbon tracker: the energy of each component, its source, and the warnings that codecarbon logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

SourceOf = Literal["rapl", "nvml", "estimated"]

HOW_ESTIMATED = {
    "cpu_load": "cpu_load: TDP x (0.1 + 0.9 load^3), load of the whole machine",
    "constant": "constant: TDP x 0.5",
}
"""codecarbon's mode for a CPU without a counter -> how it estimates the power."""

MEMORY_ESTIMATED = "5 W a memory slot (1.5 W on ARM), slots guessed from the machine's size"

WATTS_PER_UNKNOWN_THREAD = 4  # codecarbon's guess for a CPU that is not in its list


@dataclass(frozen=True)
class TrackedComponent:
    """One component in one reading.

    Attributes:
        energy_kwh: what codecarbon says it used.
        source: see `energy.ComponentEnergy`.
        detail: codecarbon's way of getting it.
    """

    energy_kwh: float
    source: SourceOf
    detail: str


@dataclass(frozen=True)
class TrackerReading:
    """The figures of a tracker that was stopped, or the reason why it has none.

    Attributes:
        parts: by component: `cpu`, `gpu`, `memory`.
        intensity: the kg of CO2e per kWh that codecarbon used.
        scope: `machine` or `process`.
        tdp_w: the thermal design power of the CPU in watts, on which an estimate is based.
        tdp_origin: where codecarbon has this power from.
        reason: why there are no figures.
    """

    parts: dict[str, TrackedComponent] = field(default_factory=dict)
    intensity: float = 0.0
    scope: str = "machine"
    tdp_w: float | None = None
    tdp_origin: str | None = None
    reason: str | None = None


class Overheard(logging.Filter):
    """Keeps codecarbon's warnings and errors instead of letting them onto the terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[tuple[int, str]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps the record. If it comes with an exception, the exception is kept, as it says more than the message."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self.note(error)
        else:
            self._records.append((record.levelno, record.getMessage().strip()))
        return False

    def note(self, error: BaseException) -> None:
        """Keeps an exception."""
        self._records.append((logging.CRITICAL, f"{type(error).__name__}: {error}"))

    def reason(self, otherwise: str) -> str:
        """The first message of the highest level that was logged, if that is an error or worse; else `otherwise`."""
        gravest = max((level for level, _ in self._records), default=logging.NOTSET)
        if gravest < logging.ERROR:
            return otherwise
        return "codecarbon: " + next(text for level, text in self._records if level == gravest)


@contextmanager
def overhear(listener: Overheard | None = None) -> Iterator[Overheard]:
    """Within the block, log messages of codecarbon go to the listener and nowhere else."""
    logger = logging.getLogger("codecarbon")
    listener = listener or Overheard()
    logger.addFilter(listener)
    try:
        yield listener
    finally:
        logger.removeFilter(listener)


def read_tracker(tracker: Any, overheard: Overheard) -> TrackerReading:
    """Stops a tracker and reads its figures. The tracker is stopped even if reading fails."""
    try:
        # stop() alone leaves out the last 50 ms, the whole of a short phase.
        measure = getattr(tracker, "_measure_power_and_energy", None)
        if measure is not None and getattr(tracker, "_start_time", None) is not None:
            measure()
    except Exception as error:  # a counter that vanished, say: stop all the same, and tell
        overheard.note(error)
    try:
        emissions_kg = tracker.stop()
    except Exception as error:
        overheard.note(error)
        emissions_kg = None
    data = getattr(tracker, "final_emissions_data", None)
    if emissions_kg is None or data is None:
        return TrackerReading(reason=overheard.reason("the tracker stopped without a figure"))
    hardware = list(getattr(tracker, "_hardware", []))
    tdp_w, tdp_origin = _tdp(tracker, hardware)
    return TrackerReading(
        parts=_parts(data, hardware),
        intensity=emissions_kg / data.energy_consumed if data.energy_consumed else 0.0,
        scope=str(getattr(tracker, "_tracking_mode", "machine")),
        tdp_w=tdp_w,
        tdp_origin=tdp_origin,
    )


def _parts(data: Any, hardware: list[Any]) -> dict[str, TrackedComponent]:
    energies = {"cpu": data.cpu_energy, "gpu": data.gpu_energy, "memory": data.ram_energy}
    parts: dict[str, TrackedComponent] = {}
    for item in hardware:
        name, source, detail = _provenance(item)
        if name in energies:
            parts[name] = TrackedComponent(float(energies[name]), source, detail)
    return parts


def _provenance(item: Any) -> tuple[str, SourceOf, str]:
    """Component, source and way of measurement of one entry of `tracker._hardware`."""
    kind, mode = type(item).__name__, str(getattr(item, "_mode", ""))
    if kind == "CPU":
        return "cpu", "rapl" if mode == "intel_rapl" else "estimated", HOW_ESTIMATED.get(mode, mode)
    if kind == "RAM":
        return "memory", "estimated", MEMORY_ESTIMATED
    if kind == "GPU":
        devices = list(item.devices.devices)
        nvidia = all(type(device).__name__ == "NvidiaGPUDevice" for device in devices)
        counted = all(device._has_counter and not device._use_power_fallback for device in devices)
        if devices and nvidia and counted:
            return "gpu", "nvml", "energy counter"
        return "gpu", "estimated", "sampled power" if not counted else "a counter that is not NVML's"
    part = {"CPU": "cpu", "GPU": "gpu", "RAM": "memory"}.get(str(getattr(item, "chip_part", "")), "other")
    return part, "estimated", kind


def _tdp(tracker: Any, hardware: list[Any]) -> tuple[float | None, str | None]:
    """The CPU's thermal design power in watts and where codecarbon has it from."""
    cpu = next((item for item in hardware if type(item).__name__ == "CPU"), None)
    watts = getattr(cpu, "_tdp", None)
    if cpu is None or watts is None:
        return None, None
    if getattr(tracker, "_force_cpu_power", None) is not None:
        return float(watts), "given"
    if cpu._is_generic_tdp:
        return float(watts), "codecarbon's constant for any CPU"
    model = str(cpu._model)
    if _in_list(model):
        return float(watts), f"codecarbon's list, {model}"
    return float(watts), f"guessed, {WATTS_PER_UNKNOWN_THREAD} W a thread, {model} not in codecarbon's list"


@cache
def _in_list(model: str) -> bool:
    """Whether codecarbon's list holds the CPU's power; it says so itself only on the first start."""
    from codecarbon.core import cpu
    from codecarbon.core.hardware_cache import get_cached_tdp

    known_w = get_cached_tdp(cpu)._get_cpu_power_from_registry(model)  # type: ignore[no-untyped-call]
    return known_w is not None
