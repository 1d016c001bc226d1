"""The choice on dev: ties, failures, edges."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import UserError
from bench.tuning.choice import EXTENSION, Trial, choose, curve_scores, edge_of, extension_trials
from bench.tuning.space import Axis, uniforms

AXIS = Axis(low=1e-4, high=3e-2)


def test_the_highest_score_wins_and_of_a_tie_the_smallest_rate() -> None:
    chosen = choose([Trial(1e-2, 0.7), Trial(1e-3, 0.8), Trial(2e-3, 0.8), Trial(4e-4, 0.1)], AXIS)
    assert chosen is not None
    assert (chosen.at, chosen.rate, chosen.tied, chosen.failed, chosen.edge) == (1, 1e-3, 2, 0, None)


def test_failed_trials_count_with_the_floor_and_are_never_chosen() -> None:
    trials = [Trial(1e-2, None), Trial(1e-3, 0.2), Trial(2e-2, float("nan"))]
    chosen = choose(trials, AXIS)
    assert chosen is not None
    assert (chosen.at, chosen.failed) == (1, 2), "though the floor, .25, is above it"
    assert curve_scores(trials, floor=0.25) == [0.25, 0.2, 0.25]
    assert choose(trials[::2], AXIS) is None
    with pytest.raises(UserError, match="no trial"):
        choose([], AXIS)
    with pytest.raises(UserError, match="floor"):
        curve_scores(trials, floor=float("nan"))


def test_a_choice_at_the_edge_is_flagged_and_followed() -> None:
    drawn = [2e-4, 1e-3, 1e-2]
    assert [edge_of(rate, drawn, AXIS) for rate in drawn] == ["low", None, "high"]
    assert edge_of(2.9e-2, [1e-3, 2.9e-2, 2.95e-2], AXIS) == "high", "a draw beyond it, but within 5% of the end"
    assert edge_of(1e-2, [*drawn, 2e-2], AXIS) is None, "that a trial beyond it failed shows that it is no edge"
    piece = AXIS.beyond("high", EXTENSION)
    assert piece.low == AXIS.high
    assert np.log10(piece.high / piece.low) == pytest.approx(EXTENSION * np.log10(300), abs=1e-3)
    assert extension_trials(12) == 5
    assert extension_trials(1) == 1


def test_choices_well_inside_are_seldom_flagged() -> None:
    """A noiseless parabola with its top in the middle: the nearest of 12 draws is hardly ever the outermost."""
    flags = 0
    for seed in range(300):
        rates = [AXIS.at(u) for u in uniforms(12, ["learning_rate"], seed)["learning_rate"]]
        chosen = choose([Trial(rate, -((AXIS.position(rate) - 0.5) ** 2)) for rate in rates], AXIS)
        assert chosen is not None
        flags += chosen.edge is not None
    assert flags / 300 < 0.02
