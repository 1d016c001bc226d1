"""The score that a run is trained for. `bench.tasks.kinds` computes it, by the kind of the task."""

from __future__ import annotations

from typing import ClassVar

from bench.meters.column import Column
from bench.meters.meter import Finding, Meter


class Score(Meter):
    """Declares the headline score; the run scores the test rows itself."""

    name: ClassVar[str] = "score"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="score",
            label="score",
            group="score",
            home="report",
            better="higher",
            says="The task's headline score of the chosen checkpoint on the held-out test rows.",
            formula="accuracy, macro or binary F1, Matthews, Pearson or Spearman, named beside the task",
            meter="scikit-learn and scipy",
            error="the spread over seeds is part of it: see the interval; undefined (constant predictions) is absent. "
            "Interval: Student's t at 95%, the variance over seeds moderated, that is averaged with what the variances of "
            "all methods of the same task and K are like, weighted by degrees of freedom (Smyth, 2004; the prior "
            "counts at most 0.85 (d + 1) of them beside d own ones, fewer with under seven methods, so that one method much "
            "noisier than the rest is seldom told from them for that), and never below that of rounding to whole test rows; one method alone has the classical interval, one "
            "seed none. Differences between methods are paired by seed and tested the same way over all pairs, corrected "
            "by Bonferroni. `python -m benchmarks.coverage` prints what both cover",
        ),
    )

    def doctor(self) -> tuple[Finding, ...]:
        return ()  # it needs nothing of the machine
