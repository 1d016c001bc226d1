"""Recorded gates, contributions and verified parts on models whose truth is planted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.parts.effective import (
    active_parameters,
    contributing_parameters,
    contributions,
    greedy_removal,
    participation_ratio,
    removal_effects,
    soft_parameters,
)
from bench.parts.gates import gate_sites, recording, removed, replaced, skipping
from methods.kit.gates import SigmoidGate
from methods.kit.parts import Part
from methods.lora import LoRA
from methods.unipelt import UniPELT
from tests.methods.test_unipelt import backbone, batch, output

METHOD = UniPELT(bottleneck=4, length=3, hidden=0, r=2)


def adapted(method: UniPELT = METHOD) -> tuple[nn.Module, list[Part]]:
    model = backbone()
    torch.manual_seed(5)
    method.adapt(model)
    for module in model.modules():
        if isinstance(module, SigmoidGate):
            nn.init.normal_(module.weight)
    parts = method.parts_of(model, {})
    for part in parts:
        if part.kind == "lora":
            nn.init.normal_(part.parameters[1])
    return model, parts


def test_sites_of_unipelt() -> None:
    _, parts = adapted()
    sites = gate_sites(parts)
    assert [(site.layer, site.part) for site in sites[:3]] == [(0, "adapter"), (0, "prefix"), (0, "lora")]
    assert len(sites) == 2 * 3
    assert sites[2].size == 2 * (2 * 16 * 2)  # query and value: A and B of 16 x 2 each
    two = gate_sites(UniPELT(parts="L", lora_gates=2).parts_of(adapted(UniPELT(parts="L", lora_gates=2))[0], {}))
    assert [site.part for site in two[:2]] == ["lora.query", "lora.value"]


def test_recording_keeps_order_and_leaves_nothing_behind() -> None:
    model, parts = adapted()
    sites = gate_sites(parts)
    with recording(sites) as log:
        output(model, batch())
        output(model, {name: value[:1] for name, value in batch().items()})
    values = log.values()
    assert values.shape == (4, 6)
    torch.testing.assert_close(values[3], values[0])
    output(model, batch())
    assert len(log.values()) == 4
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ValueError, match="no forward pass"), recording(sites) as empty:
        empty.values()


@pytest.mark.parametrize("was_recorded", [False, True])
def test_where_nobody_records_nothing_is_copied_to_the_host(was_recorded: bool) -> None:
    """No value of a gate becomes a Python number: on an accelerator that would wait for the device."""
    model, parts = adapted()
    if was_recorded:
        with recording(gate_sites(parts)):
            output(model, batch())
    with Operators() as of_bare:
        output(backbone(), batch())
    with Operators() as seen:
        output(model, batch())
    assert seen.count["sigmoid"] == 2 * 2, "the gates ran: two modules in each of two layers"
    assert seen.count["_local_scalar_dense"] == of_bare.count["_local_scalar_dense"], "transformers reads its mask once"


class Operators(TorchDispatchMode):
    """Counts the operators that run inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_recording_sees_what_acts() -> None:
    model, parts = adapted()
    sites = gate_sites(parts)
    with (
        recording(sites) as log,
        replaced(sites, lambda site, values: torch.full_like(values, site.layer / 2)),
    ):
        output(model, batch())
    assert log.values()[0].tolist() == [0.0, 0.0, 0.0, 0.5, 0.5, 0.5]


def test_replacing_one_gate_leaves_the_others() -> None:
    model, parts = adapted()
    sites = gate_sites(parts)
    with recording(sites) as log:
        output(model, batch())
    own = log.values()
    with recording(sites[1:2]) as first, replaced(sites[2:3], lambda _, values: 0 * values):
        output(model, batch())
    torch.testing.assert_close(first.values()[:, 0], own[:, 1])


def test_skipping_is_undone() -> None:
    model, parts = adapted()
    before = output(model, batch())
    with skipping(gate_sites(parts), 1.0):
        assert torch.equal(output(model, batch()), output(backbone(), batch()))
    assert torch.equal(output(model, batch()), before)


def test_counts_by_hand() -> None:
    values = np.array([[0.9, 0.2], [0.7, 0.0]])
    sizes = np.array([100, 10])
    assert active_parameters(values, sizes, 0.1) == 100 + 5
    assert active_parameters(values, sizes, 0.8) == 50
    assert soft_parameters(values, sizes) == pytest.approx(0.8 * 100 + 0.1 * 10)
    assert participation_ratio(values) == pytest.approx(0.9**2 / (0.64 + 0.01))
    assert participation_ratio(np.zeros((2, 2))) is None
    assert participation_ratio(np.ones((3, 7))) == pytest.approx(7)
    assert contributing_parameters(np.array([[0.3, 0.001], [0.1, 0.003]]), sizes, 0.01) == 100


def test_contribution_by_hand() -> None:
    """With W = I and B A = 0.5 I the update is half of what it is added to, whatever the gate's form."""
    model = backbone()
    LoRA(r=16, alpha=16, targets="q").adapt(model)
    parts = LoRA(r=16, alpha=16, targets="q").parts_of(model, {})
    for part in parts:
        linear = part.module
        assert isinstance(linear, nn.Linear)
        linear.weight.data.copy_(torch.eye(16))
        linear.bias.data.zero_()
        for parameter in part.parameters:
            parameter.data.copy_(torch.eye(16))
    parts[1].parameters[1].data.mul_(0.5)
    with contributions(parts, model) as log:
        output(model, batch())
    np.testing.assert_allclose(log.values(), [[1.0, 0.5]] * 3, rtol=1e-5)


def test_contribution_of_a_dead_part_is_zero_and_nothing_changes() -> None:
    model, parts = adapted()
    for parameter in next(part for part in parts if part.name == "adapter.1.ffn").parameters:
        parameter.data.zero_()
    before = output(model, batch())
    with contributions(parts, model) as log:
        assert torch.equal(output(model, batch()), before)
    means = dict(zip([part.name for part in parts], log.values().mean(0), strict=True))
    assert means["adapter.1.ffn"] == 0
    assert min(value for name, value in means.items() if name != "adapter.1.ffn") > 1e-4
    assert torch.equal(output(model, batch()), before)


def test_greedy_removes_the_useless_and_keeps_the_vital() -> None:
    model, parts = adapted()
    vital, useless = "lora.0.value", "lora.1.query"
    by_name = {part.name: part for part in parts}
    by_name[useless].parameters[1].data.zero_()
    target = output(model, batch())
    with removed([by_name[vital]]):
        worst = float((output(model, batch()) - target).norm())

    def score() -> float:
        return 1 - float((output(model, batch()) - target).norm()) / worst

    with contributions(parts, model) as log:
        output(model, batch())
    gone = greedy_removal(parts, log.values().mean(0).tolist(), score=score, epsilon=0.0)
    assert gone == [by_name[useless]], "not the vital one, and none of the others"
    assert score() == 1.0, "everything is put back"


def test_greedy_removes_all_at_a_large_epsilon_and_none_where_undefined() -> None:
    _, parts = adapted()
    order = [float(place) for place in range(len(parts))]
    assert greedy_removal(parts, order, score=lambda: 0.5, epsilon=1.0) == parts
    assert greedy_removal(parts, order, score=lambda: None, epsilon=1.0) is None
    unknown = [np.nan, *order[1:]]
    last = greedy_removal(parts, unknown, score=lambda: 0.5, epsilon=1.0)
    assert last is not None
    assert last[-1] is parts[0], "what contributes an unknown amount goes last"


def test_removal_effects_show_the_part_that_matters() -> None:
    model, parts = adapted()
    for part in parts:
        if part.kind != "adapter":
            for parameter in part.parameters[-1:]:
                parameter.data.zero_()
    sites = [site for site in gate_sites(parts) if site.part != "prefix"]
    target = output(model, batch())

    def loss() -> np.ndarray:
        difference: Tensor = (output(model, batch()) - target).flatten(1).norm(dim=1)
        return difference.numpy()

    whole, changes = removal_effects(sites, loss)
    assert whole.tolist() == [0, 0, 0]
    assert (changes[:, [site.part == "adapter" for site in sites]] > 1e-3).all()
    assert (changes[:, [site.part == "lora" for site in sites]] == 0).all()
