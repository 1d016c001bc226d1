"""The examples in the docstrings of numbers and texts run."""

from __future__ import annotations

import doctest

from reports.columns import numerals
from reports.formats import text


def test_the_examples_run() -> None:
    for module in (numerals, text):
        failed, tried = doctest.testmod(module)
        assert tried
        assert not failed
