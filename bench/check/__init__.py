"""The contract that every method keeps, as a suite that `bench check` and `bench.check(method)` run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.check.architectures import Finding
    from methods.kit.base import Method


class _Verb(ModuleType):
    """This package, which can be called.

    Python binds `bench.check` to the package as soon as any module in it is imported, in place of the function of
    that name in `bench`. So the package itself has to answer the call.
    """

    def __call__(self, method: str | Method, architectures: Sequence[str] | None = None) -> list[Finding]:
        from bench.commands.api import check

        return check(method, architectures)


sys.modules[__name__].__class__ = _Verb
