"""Does one run: trains, scores and measures one method on one task, and makes the record of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import torch

from bench.costs.sheet import UNMEASURED, CostSheet, largest, prepared_meters
from bench.environment import describe
from bench.errors import AlteredError
from bench.meters.clock import Clock, synchronizer
from bench.meters.parameters import count_parameters
from bench.meters.phases import Phases
from bench.parts.measure import all_sites, gate_frame, in_row_order, measure, watching
from bench.progress import ReportProgress
from bench.records.spec import Measures, RunSpec
from bench.records.store import Evaluation, Record, Result
from bench.training.loop import DivergedError, ScoreByName, Training, checkpointed, head_rate, snapshot, train
from bench.training.prepared import Setting, prepare
from bench.training.warmup import warm_up_inference, warm_up_training

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from bench.registry.meters import ResolvedMeter
    from methods.kit.base import Classifier


@dataclass(frozen=True)
class Outcome:
    """The record of a run and the arrays that are stored beside it.

    Attributes:
        record: the record of the run.
        outputs: `logits` and `labels` on the test rows; empty for a trial, which is not tested.
        gates: the gates' values on dev and test rows; None for a method without gates.
        weights: the tensors that deployment needs beside the pretrained model, by name; None if `Measures.weights`
            does not ask for them.
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
    meters: Sequence[ResolvedMeter] | None = None,
    first: bool = True,
    command: str | None = None,
    side_by_side: int = 1,
    report: ReportProgress = lambda progress: None,
    keep: Callable[[Outcome], None] = lambda scored: None,
) -> Outcome:
    """Trains and scores one method on one task, and then measures what that cost.

    The order is what protects the scores: outputs, gates and weights are copied and handed to `keep` before the first
    pass that measures. What such a pass does to the trained classifier, or to this process, comes too late for them.

    Args:
        spec: method, task, model, K, seeds and protocol of the run.
        measures: what is measured besides scores and time; None takes the defaults.
        clock: times the phases `train` and `infer`; a test passes one with a fake time.
        meters: the meters that measure its costs; None takes the shipped ones and those that `measures` names.
        first: whether meters that measure at one seed of a method, task and K (FLOPs, memory) do so in this run.
        command: what the user typed, for the record.
        side_by_side: how many runs share the machine; with more than one no time is measured.
        report: is called with the progress of the run.
        keep: is called with the scored run before its costs are measured, so that the scores are on disk by then.

    Raises:
        UserError: the run cannot be done, such as a model that is out of reach.
        DivergedError: the loss, or the logits on the test rows, became infinite or no number.
        AlteredError: measuring changed the trained classifier.
    """
    began, started_at = time.perf_counter(), datetime.now(timezone.utc)
    measures = measures or Measures()
    setting = prepare(spec, side_by_side=side_by_side)
    # Takes seconds: before every clock.
    ready = prepared_meters(measures, device=str(setting.device), meters=meters, side_by_side=side_by_side)
    clock = clock or Clock(synchronize=synchronizer(setting.device))
    phases = Phases(clock, ready.able)
    warm_up_training(setting)
    training = run_training(setting, phases=phases, report=report)
    setting.method.eject(setting.classifier.backbone)
    trained = fingerprint(setting.classifier)
    logits = None if spec.is_trial else _answers(setting, phases)
    result = _result(setting, training, logits, phases)
    if side_by_side > 1:
        result = result.model_copy(update={"train_time_s": None, "infer_time_s": None})
    sites = all_sites(setting)
    gates = gate_frame(setting, sites) if sites and not spec.is_trial else None
    sheet = None
    if measures.costs:
        sheet = CostSheet(setting, training.shapes, meters=ready, first=first)
        useful = setting.train.useful_tokens(training.visits)
        sheet.observe(phases, train_examples=training.examples, train_useful_tokens=useful)
        if measures.effective:
            sheet.note_absent("effective", UNMEASURED)
        result = result.model_copy(update={"costs": sheet.costs()})
    record = Record(
        digest=spec.digest,
        status="ok",
        complete=sheet is None and not measures.effective,
        asked=spec,
        result=result,
        environment=describe(str(setting.device), side_by_side=side_by_side)
        | ({} if command is None else {"command": command}),
        started_at=started_at.isoformat(timespec="seconds"),
        wall_time_s=time.perf_counter() - began if side_by_side == 1 else None,
    )
    kept = measures.keeps(result.stored_parameters, result.backbone_parameters)
    scored = Outcome(
        record,
        {} if logits is None else {"logits": logits.numpy().copy(), "labels": setting.test.labels.numpy().copy()},
        gates,
        snapshot(setting.stored_state()) if kept else None,
    )
    keep(scored)
    if sheet is not None and not spec.is_trial:
        sheet.measure_inference()
    if measures.effective:
        result = _with_effective(result, setting, measures, gates, sheet)
    if sheet is not None:
        sheet.measure_training()
        result = result.model_copy(update={"costs": sheet.costs(ended=True)})
    refuse_altered(trained, fingerprint(setting.classifier))
    done = {"result": result, "complete": True}
    if side_by_side == 1:
        done["wall_time_s"] = time.perf_counter() - began
    return replace(scored, record=record.model_copy(update=done))


def _answers(setting: Setting, phases: Phases) -> torch.Tensor:
    """The logits on the test rows, (examples, outputs), under the clock.

    Raises:
        DivergedError: they are not finite.
    """
    warm_up_inference(setting)
    with phases.phase("infer"):
        logits = setting.logits(setting.test)
    if not torch.isfinite(logits).all():
        raise DivergedError("the logits on the test rows are not finite: training diverged; lower the learning rate")
    return logits


def _with_effective(
    result: Result, setting: Setting, measures: Measures, gates: pd.DataFrame | None, sheet: CostSheet | None
) -> Result:
    """Adds the effective parameters to the result, or notes in `sheet` why they could not be measured."""
    try:
        effective = measure(
            setting,
            stored=result.stored_parameters,
            epsilon=measures.epsilon,
            verify_rows=measures.verify_rows,
            gates=gates,
        )
    except Exception as error:  # a method's own parts may fail; its scores stand all the same
        if sheet is not None:
            sheet.note_absent("effective", f"{type(error).__name__}: {error}")
        return result
    if sheet is not None:
        sheet.note_measured("effective")
    return result.model_copy(update={"effective": effective})


def fingerprint(classifier: Classifier) -> dict[str, str]:
    """The sha256 of each tensor that training changes, by name. It differs if a single bit of the tensor differs."""
    digests = {}
    for name, tensor in checkpointed(classifier).items():
        values = tensor.to("cpu")
        values = (values if values.layout is torch.strided else values.to_dense()).contiguous().reshape(-1)
        digests[name] = hashlib.sha256(values.view(torch.uint8).numpy().data).hexdigest()
    return digests


def refuse_altered(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Compares two fingerprints of the trained classifier.

    Raises:
        AlteredError: they differ; it names the first tensor.
    """
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        raise AlteredError(
            f"measuring its costs changed {len(changed)} tensors of the trained model, {changed[0]} first; "
            "run it with --no-costs --no-effective, and report this method"
        )


def run_training(setting: Setting, *, phases: Phases, report: ReportProgress = lambda progress: None) -> Training:
    """Trains the classifier of a setting. Afterwards the classifier holds the checkpoint with the best dev score."""
    seed = setting.spec.model_seed
    order = torch.Generator().manual_seed(seed)
    sites = all_sites(setting)

    def evaluate() -> tuple[ScoreByName, dict[str, float]]:
        with watching(sites) as log:
            logits = setting.logits(setting.dev)
        if not torch.isfinite(logits).all():
            return {}, {}  # undefined, which counts as the worst: an earlier checkpoint stays the best
        scores = setting.scores(setting.dev, logits)
        if log is None:
            return scores, {}
        means = in_row_order(setting, setting.dev, log).mean(axis=0)
        return scores, {f"{site.layer}.{site.part}": float(mean) for site, mean in zip(sites, means, strict=True)}

    torch.manual_seed(seed)  # dropout does not depend on how much the method drew for its own initial values
    return train(
        setting.classifier,
        setting.method,
        loss_of=setting.kind.loss,
        protocol=setting.protocol,
        epoch_batches=lambda epoch: setting.train_batches(order),
        steps_per_epoch=-(-len(setting.train) // setting.protocol.batch_size),
        evaluate=evaluate if len(setting.dev) else None,
        headline=setting.headline,
        clock=phases,
        report=report,
    )


def _result(setting: Setting, training: Training, logits: torch.Tensor | None, phases: Phases) -> Result:
    """The result of a run. Call it after `eject`, so that only what deployment needs is counted as stored."""
    counts = count_parameters(setting.classifier, head=setting.classifier.head_parameters().values())
    best, examples = training.best, setting.examples
    return Result(
        kind=examples.kind.name,
        headline=setting.headline,
        test_scores={} if logits is None else setting.scores(setting.test, logits),
        dev_scores=None if best is None else best.scores,
        curve=[Evaluation(**asdict(point)) for point in training.curve],
        best_epoch=None if best is None else best.epoch,
        steps=training.steps,
        trained_parameters=training.trained_parameters,
        stored_parameters=setting.stored_parameters,
        draws_again=setting.method.draws_again,
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
        repeated_examples=examples.repeated,
        train_shape=largest(training.shapes),
        test_shape=largest((len(batch.rows), batch.inputs["input_ids"].shape[1]) for batch in setting.test_batches()),
    )
