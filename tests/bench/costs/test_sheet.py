from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from bench.costs import memory as footprints
from bench.costs.memory import live_inference, live_training
from bench.costs.sheet import CostSheet, prepared_meters
from bench.meters.clock import Clock
from bench.meters.column import Phase
from bench.meters.instruments.flop_counter import Shaped
from bench.meters.instruments.operators import UncountedAttentionError
from bench.meters.instruments.run_flops import Shape, token_batch
from bench.meters.phases import Phases
from bench.records.record import Costs
from bench.records.spec import Measures
from bench.records.store import weights_path, write_record
from bench.run import execute, run_training
from bench.training import loop
from bench.training.prepared import Setting, prepare
from tests.conftest import MakeSpec

FLOAT = 4


QUIET = Measures(energy=False, resident=False)


def trained(spec: object) -> tuple[Setting, CostSheet, Phases]:
    """A trained, ejected run before its costs are counted."""
    setting, meters = prepare(spec), prepared_meters(QUIET, device="cpu")  # type: ignore[arg-type]
    phases = Phases(Clock(), meters.able)
    training = run_training(setting, phases=phases)
    assert sum(training.shapes.values()) == training.steps
    setting.method.eject(setting.classifier.backbone)
    return setting, CostSheet(setting, training.shapes, meters=meters), phases


def sheet_of(spec: object) -> tuple[Costs, Setting]:
    setting, sheet, phases = trained(spec)
    with phases.phase("infer"):
        setting.logits(setting.test)
    sheet.observe(phases, train_examples=40, train_useful_tokens=400)
    sheet.measure_inference()
    sheet.measure_training()
    return sheet.costs(ended=True), setting


@pytest.mark.parametrize("method", ["full", "prefix", "unipelt"])
def test_flops_of_a_run_are_the_sum_over_its_padded_batches(method: str, make_spec: MakeSpec) -> None:
    spec = make_spec(method, k=20, epochs=2)  # the last batch of an epoch has four rows
    costs, _ = sheet_of(spec)
    again = prepare(spec)
    order = torch.Generator().manual_seed(spec.model_seed)
    shaped = Shaped(again.classifier)

    def shape_of(inputs: dict[str, torch.Tensor]) -> Shape:
        rows, tokens = inputs["input_ids"].shape
        return rows, tokens

    @cache
    def step(shape: Shape) -> int:
        labels = torch.zeros(shape[0], dtype=torch.long)
        found = shaped.train_step(token_batch(shape), lambda logits: functional.cross_entropy(logits, labels))
        assert found
        return found

    seen = [shape_of(batch.inputs) for _ in range(2) for batch in again.train_batches(order)]
    assert Counter(rows for rows, _ in seen) == {8: 4, 4: 2}
    assert costs.figures["train_flops"] == sum(step(shape) for shape in seen)
    assert costs.figures["train_flops_per_example"] == pytest.approx(sum(step(shape) for shape in seen) / 40)

    again.method.eject(again.classifier.backbone)
    shaped = Shaped(again.classifier.eval())
    forward = cache(lambda shape: shaped.forward(token_batch(shape))[0])
    scored = [shape_of(batch.inputs) for batch in again.test_batches()]
    assert sum(rows for rows, _ in scored) == 300
    assert costs.figures["infer_flops"] == sum(forward(shape) for shape in scored)
    assert costs.figures["infer_flops_per_example"] == pytest.approx(sum(forward(shape) for shape in scored) / 300)
    assert not {"train_flops", "infer_flops", "flops_check"} & set(costs.absent)
    assert "gelu" in costs.notes["unsupported_operators"]


def test_live_bytes_add_up_and_are_those_of_the_method(make_spec: MakeSpec) -> None:
    found = {}
    for method in ("full", "lora"):
        costs, setting = sheet_of(make_spec(method))
        parts = (
            costs.figures["train_weights_bytes"],
            costs.figures["train_gradients_bytes"],
            costs.figures["train_optimizer_bytes"],
            costs.figures["train_activations_bytes"],
        )
        assert costs.figures["train_live_bytes"] == sum(parts)
        classifier = setting.classifier
        held = [*classifier.parameters(), *classifier.buffers()]
        assert costs.figures["train_weights_bytes"] == sum(tensor.nbytes for tensor in held)
        trainable = [p for p in classifier.parameters() if p.requires_grad]
        # AdamW: two moments of each weight, and a step count of four bytes for each tensor
        state = sum(2 * p.nbytes + FLOAT for p in trainable)
        assert costs.figures["train_optimizer_bytes"] == state
        assert 0 <= costs.figures["train_gradients_bytes"] <= sum(p.nbytes for p in trainable)
        assert costs.figures["infer_live_bytes"] > sum(tensor.nbytes for tensor in held)
        found[method] = costs
    assert found["full"].figures["train_live_bytes"] > found["lora"].figures["train_live_bytes"]


@pytest.mark.parametrize("method", ["full", "bitfit", "prefix", "unipelt[gate=hard,sparsity=0.1]"])
def test_measuring_leaves_the_trained_model_as_it_is(method: str, make_spec: MakeSpec) -> None:
    setting, sheet, _ = trained(make_spec(method))
    classifier = setting.classifier
    classifier.train()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    trainable = [name for name, p in classifier.named_parameters() if p.requires_grad]
    random = torch.random.get_rng_state()

    def unchanged(*, training: bool) -> None:
        after = classifier.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        assert [name for name, p in classifier.named_parameters() if p.requires_grad] == trainable
        assert all(p.grad is None for p in classifier.parameters())
        assert all(module.training == training for module in classifier.modules())
        assert torch.equal(torch.random.get_rng_state(), random)

    sheet.measure_training()
    unchanged(training=True)
    sheet.measure_inference()
    unchanged(training=True)


def test_memory_is_that_of_the_protocols_own_step(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """It clips where the protocol does, and both phases compute in the protocol's precision."""
    events: list[object] = []

    @contextmanager
    def autocast() -> Iterator[None]:
        events.append("autocast")
        yield

    setting = prepare(make_spec("lora", max_gradient_norm=0.5))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, limit: events.append(limit))
    for module in (loop, footprints):
        monkeypatch.setattr(module, "autocasting", lambda protocol: autocast)
    live_training(setting, (2, 6))
    assert events == ["autocast", 0.5] * 2
    live_inference(setting, (2, 6))
    assert events[4:] == ["autocast"]


def test_scores_are_the_same_with_and_without_costs(make_spec: MakeSpec) -> None:
    off = Measures(costs=False, energy=False, effective=False)
    bare = execute(make_spec("lora"), measures=off)
    measured = execute(make_spec("lora"), measures=off.model_copy(update={"costs": True}))
    assert (bare.outputs["logits"] == measured.outputs["logits"]).all()
    assert bare.record.result is not None
    assert bare.record.result.costs is None


def test_where_nothing_is_trained_its_costs_are_absent_with_the_reason(make_spec: MakeSpec) -> None:
    costs, _ = sheet_of(make_spec("majority"))
    for figure in ("train_flops", "train_flops_per_example", "train_live_bytes"):
        assert figure not in costs.figures
        assert costs.absent[figure] == "nothing is trained"
    assert "train_examples_per_s" not in costs.figures
    assert "train_optimizer_bytes" not in costs.figures
    assert costs.figures["infer_flops"] == 0, "it reads no text: a count of zero, not an absent one"
    assert costs.figures["infer_live_bytes"] > 0


def test_attention_that_nobody_counts_leaves_the_figure_absent_with_the_reason(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uncounted(*_: object) -> int:
        raise UncountedAttentionError("attention ran uncounted, in mine")

    monkeypatch.setattr(Shaped, "train_step", uncounted)
    costs, _ = sheet_of(make_spec("head"))
    for figure in ("train_flops", "train_flops_per_example"):
        assert figure not in costs.figures
        assert costs.absent[figure] == "attention ran uncounted, in mine"
    assert costs.figures["infer_flops"] > 0
    assert costs.figures["train_live_bytes"] > 0


def test_throughput_is_work_over_observed_time(make_spec: MakeSpec) -> None:
    _, sheet, _ = trained(make_spec("head"))
    ticks = iter([0.0, 4.0, 10.0, 13.0])
    phases = Phases(Clock(now=lambda: next(ticks)))
    names: tuple[Phase, ...] = ("train", "infer")
    for name in names:
        with phases.phase(name):
            pass
    sheet.observe(phases, train_examples=48, train_useful_tokens=600)
    costs = sheet.costs()
    assert costs.figures["train_examples_per_s"] == 48 / 4
    assert costs.figures["train_useful_tokens_per_s"] == 600 / 4
    assert costs.figures["infer_examples_per_s"] == 300 / 3
    assert costs.absent["train_energy_estimated_joules"] == "energy was not metered"
    assert costs.absent["cuda_allocated_bytes"] == "the device is cpu, not cuda"
    assert "cuda_allocated_bytes" not in costs.figures


def test_useful_tokens_and_padding_are_those_of_the_batches(make_spec: MakeSpec) -> None:
    """Against the attention masks of the same batches; the last epoch ends in its middle."""
    padding = []
    for batches in ("random", "by-length"):
        spec = make_spec("head", k=28, epochs=None, steps=6, batches=batches)
        result = execute(spec, measures=QUIET.model_copy(update={"effective": False})).record.result
        assert result is not None
        assert result.costs is not None
        setting, order = prepare(spec), torch.Generator().manual_seed(spec.model_seed)
        masks = [batch.inputs["attention_mask"] for _ in range(2) for batch in setting.train_batches(order)][:6]
        useful, computed = (sum(int(count(mask)) for mask in masks) for count in (torch.sum, torch.numel))
        figures = result.costs.figures
        assert (figures["train_useful_tokens"], figures["train_padding_share"]) == (useful, 1 - useful / computed)
        assert figures["infer_useful_tokens"] == setting.test.lengths.sum()
        padding.append(figures["train_padding_share"])
    assert padding[1] < padding[0]


@pytest.mark.parametrize("method", ["bitfit", "prefix"])
def test_stored_bytes_are_those_of_the_file(method: str, make_spec: MakeSpec, tmp_path: Path) -> None:
    outcome = execute(make_spec(method), measures=Measures(energy=False, effective=False, weights="all"))
    write_record(tmp_path, outcome.record, weights=outcome.weights)
    assert outcome.record.result is not None
    assert outcome.record.result.costs is not None
    file = weights_path(tmp_path, outcome.record.digest)
    assert outcome.record.result.costs.figures["stored_bytes"] == file.stat().st_size


def test_the_pue_is_recorded_beside_the_machines_joules(make_spec: MakeSpec) -> None:
    measures = Measures(costs=True, effective=False, country="FRA", pue=1.5)
    result = execute(make_spec("head"), measures=measures).record.result
    assert result is not None
    assert result.costs is not None
    for phase in ("train", "infer"):
        assert result.costs.notes["energy_detail"][phase]["pue"] == 1.5
