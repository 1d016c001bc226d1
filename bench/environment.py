"""Describes where a run takes place: versions of packages, commit, device, threads and memory allocator."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.meters.allocator import in_force

PACKAGES = (
    "tunebench",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
)
"""Packages whose versions can change a figure."""


def describe(device: str, *, side_by_side: int = 1) -> dict[str, Any]:
    """Describes this process and machine for a record. What cannot be determined is left out.

    Args:
        device: the device of the run, as torch names it.
        side_by_side: how many runs share the machine; said only where others do.
    """
    import torch

    description = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions() | {"torch": str(torch.__version__)},  # with its build: +cpu, +cu130
        "commit": commit(),
        "methods_code": methods_digest(),
        "device": device,
        "device_name": torch.cuda.get_device_name() if device.startswith("cuda") else cpu_name(),
        "cpus": usable_cpus(),
        "threads": torch.get_num_threads(),
        "side_by_side": side_by_side if side_by_side > 1 else None,
        "allocator": in_force(),
    }
    return {name: value for name, value in description.items() if value is not None}


def versions() -> dict[str, str]:
    """Returns the version of each of `PACKAGES` that is installed."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue  # tunebench itself may run from its folder without being installed
    return installed


@cache
def methods_digest() -> str:
    """Computes a sha256 over the code in `methods/`, since the results and costs of a method depend on it."""
    import methods

    folder = Path(methods.__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        code = path.read_bytes()
        # The length separates one file from the next.
        digest.update(f"{path.relative_to(folder).as_posix()} {len(code)}\n".encode() + code)
    return f"sha256:{digest.hexdigest()[:16]}"


@cache
def commit() -> str | None:
    """Returns the commit of this checkout, with `-dirty` if files differ from it; None outside of a checkout."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    # --exclude=* ignores all tags, so that the answer is always a commit.
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git on this machine: the commit is unknown
    return answer.stdout.strip() or None


def cpu_name() -> str | None:
    """Returns the name of the processor's model; None if the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def usable_cpus() -> int:
    """Returns the number of processors that this process may use, which a container may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def command_line() -> str | None:
    """Returns the command line of this process so that it can be typed again; `python -m bench.cli` becomes `bench`.

    Returns None in another program, such as a script that calls `bench.compare`, because its command line does not say
    what was compared.
    """
    name = Path(sys.argv[0]).name
    if name in ("cli.py", "-c"):
        name = "bench"
    return shlex.join([name, *sys.argv[1:]]) if name.removesuffix(".exe") == "bench" else None
