"""Columns of what the search for a run's hyper-parameters cost; `reports.frame.searches` computes them.

A run that is scored on the test rows has the values of the best trial of a search. Its trials are no runs of the tables,
and are charged here to the runs that rest on them.
"""

from __future__ import annotations

from reports.columns.document import Column

_METER = "computed from the records of the trials"
_FAILED = "a trial that failed counts as the mean of those that finished, though it may have ended earlier"

TUNING: dict[str, Column] = {
    column.key: column
    for column in (
        Column(
            key="tuning_trials",
            label="trials behind it",
            group="tuning",
            better=None,
            home="report",
            says="Trials of the search that chose this run's hyper-parameters, failed ones and those beyond the range among them.",
            formula="draws of the search + draws beyond an end of the range at which the best one stood",
            meter=_METER,
            error="not divided: where several seeds share a search, each of them has all its trials; 0 where nothing is searched",
        ),
        Column(
            key="tuning_train_flops",
            label="tuning FLOPs",
            unit="FLOPs",
            group="tuning",
            home="report",
            says="Training FLOPs of the search's trials, divided among the seeds that share it.",
            formula="training FLOPs an example x examples trained on, summed over the trials / seeds that share the search",
            meter=_METER,
            error=f"FLOPs an example are counted at one seed of the method, so exact but for other padding; {_FAILED}",
        ),
        Column(
            key="tuning_train_time_s",
            label="tuning s",
            unit="s",
            group="tuning",
            ranks=False,
            home="report",
            says="Observed seconds of the training steps of the search's trials, divided among the seeds that share it.",
            formula="train s, summed over the trials / seeds that share the search",
            meter=_METER,
            error=f"as for train s, so no fair ratio; loading and evaluation are not in it; {_FAILED}",
        ),
        Column(
            key="tuning_train_energy_measured_joules",
            label="tuning energy, measured",
            unit="J",
            group="tuning",
            home="report",
            says="Measured energy of the training steps of the search's trials, divided among the seeds that share it.",
            formula="training energy, measured, summed over the trials / seeds that share the search",
            meter=_METER,
            error=f"as for training energy, measured; {_FAILED}",
        ),
        Column(
            key="tuned_train_flops_ratio",
            label="FLOPs with tuning / full",
            group="tuning",
            home="report",
            says="Training FLOPs of the run and of its share of the trials, over those of full tuned the same way.",
            formula="(tuning FLOPs + training FLOPs of the run) / their mean over the runs of full on the same task",
            meter=_METER,
            error="as for tuning FLOPs; absent where full is not among the methods",
        ),
    )
}
"""The columns by key, in the order of tables."""
