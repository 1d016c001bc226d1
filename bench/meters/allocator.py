"""The C library's malloc: whether it keeps the blocks that a step frees, and which setting is in force.

glibc's default hands every large block back to the system when it is freed. The next step asks for it again and
touches each page of it anew: full fine-tuning takes thousands of page faults in every step, a method with few
gradients takes none. Nothing heavy is imported here, so that a worker can set malloc before torch allocates.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Literal

Allocator = Literal["keep", "system"]
"""keep: malloc keeps the blocks that are freed; system: malloc as the system has it."""

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -3, -4, -8

_KEEP = {
    # No block is mapped on its own. M_MMAP_THRESHOLD would not do: glibc caps it at 32 MiB, and the gradient of
    # a word embedding is larger.
    "M_MMAP_MAX": (M_MMAP_MAX, 0),
    "M_TRIM_THRESHOLD": (M_TRIM_THRESHOLD, -1),  # -1: the top of the heap is never given back
    # A thread's heap that became empty is given back unless the padding is as large as a heap: 64 MiB.
    "M_TOP_PAD": (M_TOP_PAD, 64 * 2**20),
}
_USERS_SETTINGS = (
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""Variables by which a user sets glibc's malloc; named in the words where they are in force."""

_refused: list[str] | None = None
"""After `use("keep")`: the settings that mallopt refused; None: malloc was never set."""


def use(asked: Allocator) -> None:
    """Sets malloc of this process; call it before torch allocates. There is no way back to the system's setting."""
    global _refused
    if asked == "keep":
        library, _ = glibc()
        if library is not None:
            _refused = refused_settings(library, _KEEP)


def in_force() -> str:
    """The allocator of this process in words, such as `glibc 2.36, blocks kept`."""
    if other := other_malloc():
        return f"{other} (preloaded)"
    if _refused is None:
        return _words("as the system has it", [])
    if not _refused:
        return _words("blocks kept", None)
    mallopt = f"mallopt refused {', '.join(_refused)}"
    if len(_refused) < len(_KEEP):
        return _words(f"partly kept: {mallopt}", [])
    return _words("as the system has it", [mallopt])


@cache
def expected(asked: Allocator) -> str:
    """What `in_force` says in a new process of this machine after `use(asked)`.

    A child tries it: nobody else knows what mallopt grants, and this process would have to keep what it tries.

    Raises:
        CalledProcessError: the child failed.
    """
    command = [sys.executable, "-I", __file__, asked]  # this file alone, which imports the standard library only
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def glibc() -> tuple[ctypes.CDLL | None, str | None]:
    """The C library if it is glibc and its malloc is the process's; else None and the reason."""
    if not sys.platform.startswith("linux"):
        return None, f"mallopt is glibc's, and this is {sys.platform}"
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None, "the C library is not glibc, whose malloc alone has these settings"
    if other := other_malloc():
        return None, f"{other} is loaded in place of glibc's malloc"
    return library, None


def set_malloc(library: ctypes.CDLL, settings: dict[str, tuple[int, int]]) -> str | None:
    """Sets parameters of glibc's malloc, name -> (number, value); says which were refused, None if none was."""
    refused = refused_settings(library, settings)
    return f"mallopt refused {', '.join(refused)}" if refused else None


def refused_settings(library: ctypes.CDLL, settings: dict[str, tuple[int, int]]) -> list[str]:
    """Sets parameters of glibc's malloc, name -> (number, value); gives the names of those that it refused."""
    return [name for name, (which, value) in settings.items() if library.mallopt(which, value) != 1]


def other_malloc() -> str | None:
    """The file name of a malloc loaded in place of the C library's, as by LD_PRELOAD."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # no /proc: not Linux
        return None
    for line in lines:
        name = line.rpartition("/")[2]
        if any(mark in name for mark in ("jemalloc", "tcmalloc", "mimalloc")):
            return name
    return None


def _words(state: str, remarks: list[str] | None) -> str:
    """The C library and what malloc does; where not every setting is ours, also what a user set by variables."""
    name, version = platform.libc_ver()
    library = f"{name} {version}".strip() or {"darwin": "macOS"}.get(sys.platform, sys.platform)
    if remarks is None:
        return f"{library}, {state}"
    own = [f"{variable}={os.environ[variable]}" for variable in _USERS_SETTINGS if variable in os.environ]
    listed = ", ".join([*own, *remarks])
    return f"{library}, {state}{f' ({listed})' if listed else ''}"


if __name__ == "__main__":  # the child of `expected`
    use("keep" if sys.argv[1] == "keep" else "system")
    print(in_force())
