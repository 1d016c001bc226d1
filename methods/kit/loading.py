"""Imports a Python file that is named on the command line."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType


def load_file(path: Path) -> ModuleType:
    """Imports a file, once for each content that it has.

    Raises:
        ValueError: there is no such file, or it does not import, with the exception and its line.
    """
    if path.suffix != ".py":
        raise ValueError(f"{path}: not a Python file")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    name = f"tunebench_file_{path.stem}_{file_digest(path)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        # Compiled anew: bytecode kept beside the file goes by its time, which an edit within a second keeps.
        exec(compile(path.read_bytes(), str(path.resolve()), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{path} does not import: {said(error)}{place(error, path)}") from error
    return module


def file_digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits; the file is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def said(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)  # str() of it would add the place
    lines = message.strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def place(error: BaseException, path: Path) -> str:
    """The innermost line of the file `path` in an exception's traceback, as ` (line 12)`; empty if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.resolve()]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == path.resolve():
        lines.append(error.lineno)
    return f" (line {lines[-1]})" if lines else ""
