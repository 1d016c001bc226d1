"""From `--on` to an executor: a built-in one's name, `file.py:Class`, or the name of an installed package's."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pkgutil import iter_modules

from bench.errors import UserError, near
from bench.grid import executors
from bench.grid.executors.executor import Executor
from bench.registry import plugins

EXECUTOR_GROUP = "tunebench.executors"

DEFAULT = "local"
"""What does the runs where nothing else is named."""

_FILE = re.compile(r"(?P<name>.*\.py:\w+)(:(?P<address>.*))?")


def built_in() -> list[str]:
    """The names of the executors that come along: those of their files.

    Examples:
        >>> "local" in built_in()
        True
    """
    return [module.name for module in iter_modules(executors.__path__) if module.name != "executor"]


def make_executor(text: str, *, jobs: int = 1) -> Executor:
    """Makes the executor that `text` names.

    Args:
        text: a name or `file.py:Class`, and perhaps `:ADDRESS`.
        jobs: how many runs are to be made side by side.

    Raises:
        UserError: there is none of this name, it is no executor, it takes no address, or it does not hold as many jobs.
    """
    match = _FILE.fullmatch(text)
    name, colon, address = (match["name"], match[2], match["address"]) if match else text.partition(":")
    cls = _load(name)
    if not cls.takes_address and colon:
        raise UserError(f"--on {text}: {name} takes no address")
    arguments = (address or None,) if cls.takes_address else ()
    settings = {"jobs": jobs} if cls.takes_jobs and jobs > 1 else {}
    executor = cls(*arguments, **settings)  # as the contract says
    if executor.capacity < jobs:
        holds = executor.capacity
        executor.close()
        raise UserError(
            f"--jobs {jobs}: executor {name} holds {holds} at once; leave --jobs out, or give {holds} at most"
        )
    return executor


def _load(name: str) -> type[Executor]:
    if plugins.is_file(name):
        return _checked(plugins.from_file(name)[0], name)
    if name in built_in():
        module = vars(import_module(f"{executors.__name__}.{name}"))
        (cls,) = (value for value in module.values() if _is_executor(value))
        return _checked(cls, name)
    packages = plugins.entry_points(EXECUTOR_GROUP)
    if name in packages:
        return _checked(plugins.from_package(packages[name])[0], name)
    names = [*built_in(), *packages]
    raise UserError(f"unknown executor {name!r}{near(name, names)} (bench list executors shows all)")


def _checked(loaded: object, name: str) -> type[Executor]:
    """A plug-in's class, if it is an executor that can be made."""
    if not _is_executor(loaded):
        raise UserError(f"{name} is no subclass of bench.Executor")
    cls: type[Executor] = loaded  # type: ignore[assignment]
    if inspect.isabstract(cls):
        raise UserError(f"{name} lacks {', '.join(sorted(cls.__abstractmethods__))}; docs/extend.md says what it does")
    if not isinstance(getattr(cls, "name", None), str):
        raise UserError(f"{name} has no name; write name: ClassVar[str] = ... in it")
    return cls


def _is_executor(loaded: object) -> bool:
    return inspect.isclass(loaded) and issubclass(loaded, Executor) and loaded is not Executor
