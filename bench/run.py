"""One run: what was asked in, a record out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import torch

from bench.config import Measures, RunSpec
from bench.costs import CostSheet, largest
from bench.environment import describe
from bench.gating.measure import all_sites, gate_frame, in_row_order, measure, watching
from bench.loop import Scores, Training, head_rate, train
from bench.meters.clock import Clock, synchronizer
from bench.meters.energy import warm_up
from bench.meters.parameters import count_parameters
from bench.meters.phases import Phases
from bench.progress import Report
from bench.setting import Setting, prepare
from bench.store import Evaluation, Record, Result

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Outcome:
    """A record and what belongs to it.

    Attributes:
        record: the run.
        outputs: `logits` and `labels` on the test rows.
        gates: the gates' values on dev and test rows; None for a method without gates.
        weights: what has to be stored to deploy, by name; None if it was not asked for.
    """

    record: Record
    outputs: Mapping[str, np.ndarray]
    gates: pd.DataFrame | None = None
    weights: Mapping[str, torch.Tensor] | None = field(default=None, repr=False)


def execute(
    spec: RunSpec,
    *,
    measures: Measures | None = None,
    clock: Clock | None = None,
    first: bool = True,
    command: str | None = None,
    report: Report = lambda progress: None,
) -> Outcome:
    """Trains and scores one method on one task.

    Args:
        spec: what is asked.
        measures: what is measured besides scores and time.
        clock: times the phases `train` and `infer`; a test passes one with a fake time.
        first: whether it is the first seed of its method and task, at which FLOPs and memory are measured.
        command: what the user typed, for the record.
        report: is told how far the run is.

    Raises:
        UserError: what is asked cannot be done.
        DivergedError: the loss became infinite or no number.
    """
    began, started_at = time.perf_counter(), datetime.now(timezone.utc)
    measures = measures or Measures()
    setting = prepare(spec)
    if measures.energy:
        warm_up()  # the first tracker of a process takes seconds to start: before every clock
    clock = clock or Clock(synchronize=synchronizer(setting.device))
    phases = Phases(clock, device=setting.device, energy=measures.energy, country=measures.country)
    training = run_training(setting, phases=phases, report=report)
    costs = CostSheet(setting, training.shapes, counted=measures.costs and first)
    costs.after_training()
    setting.method.eject(setting.classifier.backbone)
    with phases.phase("infer"):
        logits = setting.logits(setting.test)
    costs.after_inference()
    result = _result(setting, training, logits, phases)
    sites = all_sites(setting)
    gates = gate_frame(setting, sites) if sites else None
    if measures.effective:
        try:
            effective = measure(
                setting,
                stored=result.stored_parameters,
                epsilon=measures.epsilon,
                verify_rows=measures.verify_rows,
                gates=gates,
            )
            result = result.model_copy(update={"effective": effective})
        except Exception as error:  # a method's own parts may fail; its scores stand all the same
            costs.note_absent("effective", f"{type(error).__name__}: {error}")
    if measures.costs:
        sheet = costs.finish(phases, train_examples=training.examples)
        result = result.model_copy(update={"costs": sheet})
    record = Record(
        digest=spec.digest,
        status="ok",
        asked=spec,
        result=result,
        environment=describe(str(setting.device)) | ({} if command is None else {"command": command}),
        started_at=started_at.isoformat(timespec="seconds"),
        wall_time_s=time.perf_counter() - began,
    )
    outputs = {"logits": logits.numpy(), "labels": setting.test.labels.numpy()}
    weights = setting.stored_state() if measures.keeps(result.stored_parameters, result.backbone_parameters) else None
    return Outcome(record, outputs, gates, weights)


def run_training(setting: Setting, *, phases: Phases, report: Report = lambda progress: None) -> Training:
    """Trains the setting's classifier; the best checkpoint is in it afterwards."""
    seed = setting.spec.model_seed
    order = torch.Generator().manual_seed(seed)
    sites = all_sites(setting)

    def evaluate() -> tuple[Scores, dict[str, float]]:
        with watching(sites) as log:
            scores = setting.scores(setting.dev, setting.logits(setting.dev))
        if log is None:
            return scores, {}
        means = in_row_order(setting, setting.dev, log).mean(axis=0)
        return scores, {f"{site.layer}.{site.part}": float(mean) for site, mean in zip(sites, means, strict=True)}

    torch.manual_seed(seed)  # dropout does not depend on how much the method drew for its own initial values
    return train(
        setting.classifier,
        setting.method,
        protocol=setting.protocol,
        epoch_batches=lambda epoch: setting.train_batches(order),
        steps_per_epoch=-(-len(setting.train) // setting.protocol.batch_size),
        evaluate=evaluate if len(setting.dev) else None,
        headline=setting.headline,
        clock=phases,
        report=report,
    )


def _result(setting: Setting, training: Training, logits: torch.Tensor, phases: Phases) -> Result:
    """What came out; called after the method has dropped what training alone needed."""
    counts = count_parameters(setting.classifier, head=setting.classifier.head_parameters().values())
    best, examples = training.best, setting.examples
    return Result(
        kind=examples.kind,
        headline=setting.headline,
        test_scores=setting.scores(setting.test, logits),
        dev_scores=None if best is None else best.scores,
        curve=[Evaluation(**asdict(point)) for point in training.curve],
        best_epoch=None if best is None else best.epoch,
        steps=training.steps,
        trained_parameters=training.trained_parameters,
        stored_parameters=counts.trained_parameters,
        head_parameters=counts.trained_head_parameters,
        backbone_parameters=setting.pretrained_parameters,
        train_examples=len(examples.train),
        dev_examples=len(examples.dev),
        test_examples=len(examples.test),
        classes=examples.labels,
        train_time_s=phases.seconds("train"),
        infer_time_s=phases.seconds("infer"),
        head_kind=setting.head,
        learning_rate=setting.method.learning_rate,
        head_learning_rate=head_rate(setting.method, setting.protocol),
        data_digest=examples.digest,
        train_shape=largest(training.shapes),
        test_shape=largest((len(batch.rows), batch.inputs["input_ids"].shape[1]) for batch in setting.test_batches()),
    )
