"""A part made by `Part.at` is taken out by putting what it replaced in its place, and nothing of it is left."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.parts.gates import gate_sites, skipping
from methods.adapter import Adapter, AdapterLinear, AdapterNorm, Bottleneck
from methods.kit.base import Method
from methods.kit.frozen import bare
from methods.kit.parts import Part
from methods.lora import LoRA, LoRALinear
from methods.prefix import Prefix
from methods.unipelt import UniPELT
from tests.methods.test_unipelt import backbone, batch, output

METHODS = [
    LoRA(r=2, targets="q+ffn"),
    Adapter(bottleneck=4),
    Adapter(bottleneck=4, placement="houlsby"),
    Prefix(length=3, hidden=0),
    UniPELT(bottleneck=4, length=3, hidden=0, r=2),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_removed_part_is_no_longer_in_the_model(method: Method) -> None:
    """Not its parameters, not its work; every name and bit is back when it is put back."""
    model = backbone()
    bare_names, bare_output = list(model.state_dict()), output(model, batch())
    method.adapt(model)
    names, whole = list(model.state_dict()), output(model, batch())
    parts = method.parts_of(model, {})
    restores = [part.remove() for part in parts]
    left = [name for name in model.state_dict() if ".gates." not in name]
    assert left == bare_names
    assert torch.equal(output(model, batch()), bare_output)
    for restore in reversed(restores):
        restore()
    assert list(model.state_dict()) == names
    assert torch.equal(output(model, batch()), whole)


def extra() -> tuple[nn.Sequential, Part]:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    return model, Part.at(model, "1", base=nn.Identity(), kind="extra", site="last")


def test_an_inserted_module_needs_no_switch() -> None:
    model, part = extra()
    assert (part.name, part.size, part.layer) == ("extra.-.last", 6, None)
    inputs = torch.ones(3, 2)
    assert torch.equal(part.without(inputs), inputs)
    assert model[1] is part.module, "it is back"
    assert part.drop is not None
    part.drop()
    assert torch.equal(model(inputs), model[0](inputs))


def test_a_part_that_is_put_back_takes_the_mode_that_the_model_is_in_by_then() -> None:
    model, part = extra()
    restore = part.remove()
    model.eval()
    restore()
    assert not part.module.training
    model.eval()
    part.remove()()
    assert not part.module.training, "removing alone changes no mode"


def test_removals_of_one_part_can_be_nested() -> None:
    model, part = extra()
    outer, inner = part.remove(), part.remove()
    inner()
    assert model[1] is part.base
    outer()
    assert model[1] is part.module


@pytest.mark.parametrize("made", ["lora", "linear", "norm"])
def test_bare_is_the_module_that_was_there(made: str) -> None:
    linear, norm = nn.Linear(4, 4), nn.LayerNorm(4, eps=0.1)
    adapter = Bottleneck(4, 2, activation="relu", std=1.0)
    cases: dict[str, tuple[nn.Linear | nn.LayerNorm, nn.Linear | nn.LayerNorm]] = {
        "lora": (linear, LoRALinear(linear, r=2, alpha=2)),
        "linear": (linear, AdapterLinear(linear, adapter)),
        "norm": (norm, AdapterNorm(norm, adapter)),
    }
    base, module = cases[made]
    plain = bare(module)
    assert type(plain) is type(base)
    assert plain.weight is module.weight is base.weight
    assert plain.bias is base.bias
    assert repr(plain) == repr(base)
    inputs = torch.randn(3, 4)
    assert torch.equal(plain(inputs), base(inputs))


def test_a_gate_below_another_threshold_is_skipped_inside_and_not_after() -> None:
    model = backbone()
    method = UniPELT(parts="AL", bottleneck=4, r=2)
    method.adapt(model)
    for part in method.parts_of(model, {}):
        nn.init.normal_(part.parameters[1])
    whole, sites = output(model, batch()), gate_sites(method.parts_of(model, {}))
    with skipping(sites, 1.0):  # no sigmoid gate is above it
        closed = output(model, batch())
        with skipping(sites, 0.0):
            assert torch.equal(output(model, batch()), whole)
        assert torch.equal(output(model, batch()), closed)
    assert torch.equal(output(model, batch()), whole)
    assert not torch.allclose(closed, whole)
    assert not any("forward" in vars(module) for module in model.modules())
