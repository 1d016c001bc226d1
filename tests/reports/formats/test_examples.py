"""The examples in the docstrings of numbers, texts and environments run."""

from __future__ import annotations

import doctest

from reports.columns import numerals
from reports.formats import text
from reports.frame import environment


def test_the_examples_run() -> None:
    for module in (environment, numerals, text):
        failed, tried = doctest.testmod(module)
        assert tried
        assert not failed
