"""Where a run happens: versions, commit, device, threads, allocator."""

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


def describe(device: str, *, side_by_side: int = 1) -> dict[str, Any]:
    """What a record says of where it was made; what cannot be known is absent.

    Args:
        device: torch's name of the device the run is on.
        side_by_side: how many runs share the machine; said only where others do.
    """
    import torch

    found = {
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
    return {name: value for name, value in found.items() if value is not None}


def versions() -> dict[str, str]:
    """Version of each package that can change a figure."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # tunebench itself may run from its folder without being installed
    return found


@cache
def methods_digest() -> str:
    """sha256 over the code of the built-in methods and all that they share: what one does and takes depends on it."""
    import methods

    folder = Path(methods.__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        code = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(code)}\n".encode() + code)
    return f"sha256:{digest.hexdigest()[:16]}"


@cache
def commit() -> str | None:
    """The commit of this checkout, with `-dirty` if files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git on this machine: the commit is unknown
    return answer.stdout.strip() or None


def cpu_name() -> str | None:
    """The processor's own name for itself, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def usable_cpus() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def command_line() -> str | None:
    """The command line of this process, as one could type it again; `python -m bench.cli` or `-c` is `bench`.

    None in another program, such as a script or a notebook that calls `bench.compare`: its own command line does
    not say what was compared.
    """
    name = Path(sys.argv[0]).name
    if name in ("cli.py", "-c"):
        name = "bench"
    return shlex.join([name, *sys.argv[1:]]) if name.removesuffix(".exe") == "bench" else None
