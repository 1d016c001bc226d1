"""The examples in the docstrings of numbers, texts and environments run."""

from __future__ import annotations

import doctest

from reports.columns import numerals
from reports.formats import page, text
from reports.frame import environment
from reports.tables import needs, settings


def test_the_examples_run() -> None:
    for module in (environment, numerals, text, page, needs, settings):
        failed, tried = doctest.testmod(module)
        assert tried
        assert not failed
