"""The examples in the docstrings of numbers and texts run."""

from __future__ import annotations

import doctest

from reports.columns import numerals
from reports.formats import page, text
from reports.tables import needs, settings


def test_the_examples_run() -> None:
    for module in (numerals, text, page, needs, settings):
        failed, tried = doctest.testmod(module)
        assert tried
        assert not failed
