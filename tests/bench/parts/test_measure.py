from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench.meters.clock import Clock
from bench.meters.phases import Phases
from bench.parts.effective import RHOS, TAUS
from bench.parts.gates import recording
from bench.parts.measure import all_sites, gate_frame, measure
from bench.records.record import Effective
from bench.records.spec import Measures, RunSpec
from bench.run import Outcome, execute, run_training
from bench.training.encoding import batches
from bench.training.prepared import Setting, prepare
from tests.conftest import MakeSpec

MEASURES = Measures(costs=False, energy=False, weights="all")
DEV, TEST, LAYERS, WIDTH = 16, 300, 2, 32
SPECIFICATION = "unipelt[hidden=8,bottleneck=4,length=3,r=2]"
SIZES = {"adapter": 2 * 4 * WIDTH + 4 + WIDTH, "prefix": 2 * 3 * WIDTH, "lora": 2 * (2 * 2 * WIDTH)}
GATES = 3 * (WIDTH + 1)  # parameters of a layer's gates


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """One run for several tests."""
    return {}


@pytest.fixture
def unipelt(kept: dict[str, Any], make_spec: MakeSpec) -> tuple[RunSpec, Outcome]:
    if not kept:
        spec = make_spec(SPECIFICATION, epochs=3)
        kept["found"] = spec, execute(spec, measures=MEASURES)
    found: tuple[RunSpec, Outcome] = kept["found"]
    return found


def effective_of(outcome: Outcome) -> Effective:
    assert outcome.record.result is not None
    assert outcome.record.result.effective is not None
    return outcome.record.result.effective


def frame_of(outcome: Outcome) -> pd.DataFrame:
    assert outcome.gates is not None
    return outcome.gates


def rebuilt(spec: RunSpec, outcome: Outcome) -> Setting:
    """The run's classifier as deployed, from the stored weights alone."""
    setting = prepare(spec)
    setting.method.eject(setting.classifier.backbone)
    assert outcome.weights is not None
    parameters = {name: p for name, p in setting.classifier.named_parameters() if p.requires_grad}
    assert parameters.keys() == outcome.weights.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(outcome.weights[name])
    return setting


def test_the_frame_holds_every_gate_on_every_row(unipelt: tuple[RunSpec, Outcome]) -> None:
    spec, outcome = unipelt
    frame = frame_of(outcome)
    assert len(frame) == LAYERS * 3 * (DEV + TEST)
    assert not frame.isna().any().any()
    assert frame.value.between(0, 1).all()
    keys = frame.groupby(["split", "layer", "part"]).example
    assert (keys.nunique() == keys.size()).all(), "each row once"
    sizes = keys.size().to_dict()
    rows = {"dev": DEV, "test": TEST}
    assert sizes == {
        (split, layer, part): rows[split] for split in rows for layer in range(LAYERS) for part in sorted(SIZES)
    }
    labels = outcome.outputs["labels"]
    assert outcome.record.result is not None
    names = np.asarray(outcome.record.result.classes)[labels]
    one = frame[(frame.split == "test") & (frame.layer == 1) & (frame.part == "lora")].sort_values("example")
    assert one.label.tolist() == names.tolist()
    correct = outcome.outputs["logits"].argmax(1) == labels
    assert one.correct.tolist() == correct.astype(float).tolist()
    logits = torch.tensor(outcome.outputs["logits"])
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="none")
    np.testing.assert_allclose(one.loss, loss, rtol=1e-6)
    setting = prepare(spec)
    assert one.length.tolist() == setting.test.lengths.tolist()
    assert set(frame.method) == {spec.method.label}
    assert set(frame.task) == {"synthetic"}
    assert set(frame.seed) == set(frame.data_seed) == {0}


def test_values_reproduce_from_the_stored_weights(unipelt: tuple[RunSpec, Outcome]) -> None:
    spec, outcome = unipelt
    setting = rebuilt(spec, outcome)
    pd.testing.assert_frame_equal(gate_frame(setting, all_sites(setting)), frame_of(outcome))


def test_values_are_those_of_each_row_by_itself(unipelt: tuple[RunSpec, Outcome]) -> None:
    spec, outcome = unipelt
    setting = rebuilt(spec, outcome)
    setting.classifier.eval()
    sites = all_sites(setting)
    frame = frame_of(outcome)
    table = frame[frame.split == "test"].pivot(index="example", columns=["layer", "part"], values="value")
    moved = 0
    for place, single in enumerate(batches(setting.test, size=1)):  # sorted by length
        with torch.inference_mode(), recording(sites) as log:
            setting.classifier(**single.inputs)
        (row,) = single.rows.tolist()
        moved += row != place
        expected = [table.loc[row, (site.layer, site.part)] for site in sites]
        np.testing.assert_allclose(log.values()[0], expected, atol=1e-5)
    assert moved > TEST / 2


def test_effective_counts_of_unipelt(unipelt: tuple[RunSpec, Outcome]) -> None:
    _, outcome = unipelt
    found, frame = effective_of(outcome), frame_of(outcome)
    assert outcome.record.result is not None
    whole = LAYERS * sum(SIZES.values())
    other = LAYERS * GATES
    assert (found.parts, found.part_parameters) == (LAYERS * 4, whole)
    assert outcome.record.result.stored_parameters == whole + other
    test = frame[frame.split == "test"]
    means = test.groupby(["layer", "part"]).value.mean()
    soft = other + sum(SIZES[part] * mean for (_, part), mean in means.items())
    assert found.soft_parameters == pytest.approx(soft, rel=1e-5)
    assert found.participation_ratio == pytest.approx(means.sum() ** 2 / (means**2).sum(), rel=1e-5)
    assert found.gates == pytest.approx({f"{layer}.{part}": mean for (layer, part), mean in means.items()})
    for curve, thresholds in ((found.active_curve, TAUS), (found.contributing_curve, RHOS)):
        assert tuple(threshold for threshold, _ in curve) == thresholds
        counts = [count for _, count in curve]
        assert counts == sorted(counts, reverse=True)
        assert other <= counts[-1] <= counts[0] <= whole + other
    shares = (test.assign(open=test.value > 0.5).groupby(["layer", "part"]).open.mean()).items()
    half = other + sum(SIZES[part] * share for (_, part), share in shares)
    assert dict(found.active_curve)[0.5] == pytest.approx(half)
    assert found.active_parameters == dict(found.active_curve)[0.1]
    assert found.contributing_parameters == dict(found.contributing_curve)[0.01]
    names = [f"{kind}.{layer}.{site}" for layer in range(LAYERS) for kind, site in (
        ("adapter", "ffn"), ("prefix", "attention"), ("lora", "query"), ("lora", "value"))]  # fmt: skip
    assert list(found.contributions) == names
    assert min(found.contributions.values()) > 0
    assert set(found.verified_parts) <= set(names)
    kept = {name: SIZES[name.split(".")[0]] // (2 if name.startswith("lora") else 1) for name in found.verified_parts}
    assert found.verified_parameters == other + sum(kept.values())
    assert found.verified_epsilon == 0.01
    assert found.verified_test_change is not None
    assert abs(found.verified_test_change) <= 1
    assert found.absent == {}
    assert all(np.isfinite(value) for value in found.idle.values())


def test_gates_on_the_dev_rows_are_in_the_curve(unipelt: tuple[RunSpec, Outcome]) -> None:
    _, outcome = unipelt
    result = outcome.record.result
    assert result is not None
    assert result.best_epoch is not None
    best = result.curve[result.best_epoch - 1]
    frame = frame_of(outcome)
    means = frame[frame.split == "dev"].groupby(["layer", "part"]).value.mean()
    assert best.gates == pytest.approx({f"{layer}.{part}": mean for (layer, part), mean in means.items()}, rel=1e-5)


@pytest.mark.parametrize("method", ["majority", "head"])
def test_without_parts_there_are_zero(method: str, make_spec: MakeSpec) -> None:
    outcome = execute(make_spec(method), measures=MEASURES)
    found = effective_of(outcome)
    assert outcome.gates is None
    assert (found.parts, found.part_parameters) == (0, 0)
    assert (found.soft_parameters, found.active_parameters) == (0.0, 0.0)
    assert (found.contributing_parameters, found.verified_parameters) == (0.0, 0)
    assert found.participation_ratio is None
    assert found.absent == {"participation_ratio": "the method has no gates"}


def test_without_dev_rows_what_needs_them_is_absent_with_the_reason(make_spec: MakeSpec) -> None:
    outcome = execute(make_spec(SPECIFICATION, dev=0), measures=MEASURES)
    found = effective_of(outcome)
    assert found.contributing_parameters is None
    assert found.verified_parameters is None
    reason = "there are no dev rows"
    assert found.absent == {"contributing_parameters": reason, "verified_parameters": reason}
    assert set(frame_of(outcome).split) == {"test"}
    assert found.soft_parameters is not None


def test_full_is_measured_against_the_pretrained_values(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = prepare(make_spec("full[learning_rate=0.001]"))
    fresh = {name: tensor.clone() for name, tensor in setting.classifier.backbone.state_dict().items()}
    run_training(setting, phases=Phases(Clock()))
    trained = {name: tensor.clone() for name, tensor in setting.classifier.state_dict().items()}
    pretrained = setting.pretrained()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in pretrained.items())
    stored = sum(p.numel() for p in setting.classifier.backbone.parameters())
    found = measure(setting, stored=stored, epsilon=0.02)
    assert list(found.contributions) == ["weight.-.embeddings", "weight.0.layer", "weight.1.layer"]
    assert min(found.contributions.values()) > 0
    assert found.part_parameters == stored
    assert found.soft_parameters == found.active_parameters == stored
    after = setting.classifier.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in trained.items()), "all is put back"
    own = {name: tensor.clone() for name, tensor in setting.classifier.backbone.state_dict().items()}
    monkeypatch.setattr(Setting, "pretrained", lambda self: own)
    unmoved = measure(setting, stored=stored, epsilon=0.02)
    assert set(unmoved.contributions.values()) == {0.0}, "what did not move contributes nothing"
    assert (unmoved.contributing_parameters, unmoved.verified_parameters) == (0.0, 0)
