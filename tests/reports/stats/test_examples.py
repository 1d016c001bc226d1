"""The examples in the docstrings of the statistics run, and give what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pkgutil import iter_modules

import pytest

import reports.stats

WITHOUT = {"association", "gate_values", "variance"}  # an example of a whole frame of gate values would be long


@pytest.mark.parametrize("name", sorted({module.name for module in iter_modules(reports.stats.__path__)} - WITHOUT))
def test_the_examples_run(name: str) -> None:
    failed, tried = doctest.testmod(import_module(f"reports.stats.{name}"))
    assert tried
    assert not failed
