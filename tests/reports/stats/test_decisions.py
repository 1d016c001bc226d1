"""The whole of a tuned comparison by simulation: few false claims, and the power that is stated."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import decisions
from benchmarks.decisions import GAP, SD, Design, simulate

DRAWS = 150
ERROR = 2 * np.sqrt(0.05 * 0.95 / DRAWS)
"""Two standard errors of a share of 5%."""


def test_one_search_tells_settings_apart_not_methods() -> None:
    """Why several studies are needed: of equal methods, the one whose search was lucky is called better."""
    seen = simulate(Design(), draws=DRAWS)
    assert seen.of_settings <= 0.05 + ERROR
    assert seen.of_methods > 0.15
    flat = simulate(Design(curvature=0.0), draws=DRAWS)
    assert flat.of_methods <= 0.05 + ERROR, "where every rate is as good, there is no luck"
    assert flat.loss == 0


@pytest.mark.parametrize(("studies", "tasks", "power"), [(10, 1, 0.8), (5, 2, 0.75)])
def test_several_studies_tell_methods_apart(studies: int, tasks: int, power: float) -> None:
    seen = simulate(Design(studies=studies, trials=4, retrainings=1, tasks=tasks), draws=DRAWS)
    assert seen.of_settings <= 0.05 + ERROR
    assert seen.of_methods <= 0.05 + ERROR
    assert seen.best_missed <= 0.05 + ERROR
    assert seen.not_as_good <= 0.05 + ERROR
    assert seen.power == pytest.approx(power, abs=0.1), f"of a true difference of {GAP}"
    assert seen.as_good > 0.7, "and equal methods are called as good as the best, less as much"


def test_a_difference_is_found_with_the_power_that_reports_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a true difference as great as `detectable` says, the power is 80%."""
    flat = Design(retrainings=10, curvature=0.0)
    monkeypatch.setattr(decisions, "GAP", simulate(flat, draws=DRAWS).detectable)
    assert simulate(flat, draws=DRAWS).power == pytest.approx(0.8, abs=0.07)


def test_a_smoothed_range_is_less_narrowed_by_noise() -> None:
    seen = decisions.search(1000, draws=150, sd=SD)
    true_width = 2 * np.sqrt(0.01 / 0.05)
    assert 0.75 * true_width <= seen.width <= 1.1 * true_width
    assert seen.joined < 0.4 * true_width
    assert seen.flagged < 0.05
    assert seen.flagged_outside > 0.4
