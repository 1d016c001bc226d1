"""Effective parameters: of what a method stores, how much does its work. `bench.parts.measure` measures them."""

from __future__ import annotations

from typing import ClassVar

from bench.meters.column import Column
from bench.meters.meter import Finding, Meter


class Effective(Meter):
    """Declares the effective counts, which have a place of their own in the record (`Effective`)."""

    name: ClassVar[str] = "effective"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="soft_parameters",
            label="soft",
            group="effective",
            home="effective",
            says="Stored parameters of the parts, each weighted with its gate's mean value on the test rows.",
            formula="sum over parts of |theta| times mean gate, plus all parameters outside parts",
            meter="recorded gates of the chosen checkpoint; an ungated part counts with gate 1",
            error="a gate's scale is not identifiable: (g/c)(cW) = gW, so a small gate alone proves nothing",
        ),
        Column(
            key="active_parameters",
            label="active(0.1)",
            group="effective",
            home="effective",
            says="Stored parameters of the parts, each times the share of test examples whose gate exceeds tau = 0.1.",
            formula="sum over parts of |theta| P(gate > tau), plus all parameters outside parts; a curve over tau",
            meter="recorded gates of the chosen checkpoint; an ungated part counts with gate 1",
            error="depends on tau, and on the gate's arbitrary scale",
        ),
        Column(
            key="participation_ratio",
            label="participation",
            group="effective",
            home="effective",
            better=None,
            says="How many gates share the work.",
            formula="(sum of mean gates)^2 / sum of squared mean gates",
            meter="recorded gates of the chosen checkpoint",
            error="absent for methods without gates",
        ),
        Column(
            key="contributing_parameters",
            label="contributing(0.01)",
            group="effective",
            home="effective",
            says="Stored parameters of the parts whose removal changes their site's output by more than rho = 1%.",
            formula="sum of |theta| over parts with mean of |y - y0| / |y0| > rho, plus all parameters outside parts",
            meter="each part's site run with and without the part on the same input, on the dev rows",
            error=(
                "a local change: what the following layers make of it is not in it; where a site runs several times in a "
                "pass, squared norms are summed over its calls, and calls that belong to no example are left out"
            ),
        ),
        Column(
            key="verified_parameters",
            label="verified",
            group="effective",
            home="effective",
            says=(
                "Parameters left after the largest removal that is shown, at 95%, to lower the true accuracy by less than "
                "epsilon = 0.01."
            ),
            formula=(
                "parts left, plus all parameters outside parts; the order of removal is chosen on the dev rows, at most "
                "eight removals, from one part to all in equal ratios, are tested in turn on rows that were neither trained "
                "nor chosen on and share no text with those or each other, up to the first that fails"
            ),
            meter=(
                "really removing parts and answering again; an exact paired test on the answers that changed "
                "(python -m benchmarks.verified)"
            ),
            error=(
                "wrong in at most 5% of runs where rows are independent; there for tasks scored by accuracy alone: F1, "
                "Matthews and correlations can hang on a few rows, for which no bound held; absent below 299 rows at "
                "epsilon = 0.01. No smallest set: a removal that makes as many answers right as wrong is shown in about "
                "half of the runs if the share of answers that change is about rows (epsilon / 1.645)^2 (at epsilon = 0.01 "
                "3.4% of 1,000 rows, 18% of 5,000; of 300 hardly one answer may change), and rarely if it is greater, so "
                "little is verified where rows are few. Where a task has too few other rows, the order is chosen on one half of the dev rows and "
                "tested on the other; the checkpoint was chosen on both, and the 5% do not cover that choice"
            ),
        ),
        Column(
            key="verified_test_change",
            label="verified score change",
            group="effective",
            home="effective",
            better="higher",
            says="What the removal behind the verified count did to the test score.",
            formula="test score with the parts left minus test score with all",
            meter="scored on the test rows",
            error="one number a run: read it with its interval over seeds",
        ),
    )

    def doctor(self) -> tuple[Finding, ...]:
        return ()  # it needs nothing of the machine
