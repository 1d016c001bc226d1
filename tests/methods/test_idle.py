"""What is known to idle, on modules whose truth is planted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from methods.adapter import Adapter, Bottleneck
from methods.bitfit import BitFit
from methods.lora import LoRA, LoRALinear, rank_use
from tests.methods.test_unipelt import backbone, batch, output


def test_effective_rank_by_hand() -> None:
    module = LoRALinear(nn.Linear(6, 6), r=4, alpha=4)
    assert rank_use([module]) == {}, "a zero update has no rank"
    with torch.no_grad():
        module.lora_A.copy_(torch.eye(4, 6))
        module.lora_B.copy_(torch.eye(6, 4))
    assert rank_use([module])["lora_effective_rank_mean"] == pytest.approx(4)
    with torch.no_grad():
        module.lora_B[:, 1:] = 0
    assert rank_use([module])["lora_effective_rank_min"] == pytest.approx(1, abs=1e-4)
    one = LoRALinear(nn.Linear(6, 6), r=1, alpha=1)
    nn.init.normal_(one.lora_B)
    both = rank_use([one, module])
    assert both["lora_effective_rank_mean"] == pytest.approx(1, abs=1e-4)


def test_dead_units_are_counted_and_nothing_is_left_behind() -> None:
    model, method = backbone(), Adapter(bottleneck=4)
    method.adapt(model)
    bottlenecks = [module for module in model.modules() if isinstance(module, Bottleneck)]
    for module in bottlenecks:
        nn.init.zeros_(module.down_weight)
        module.down_bias.data.copy_(torch.tensor([1.0, 1.0, -1.0, 0.0]))
    before = output(model, batch())
    found = method.idle(model, {}, lambda: output(model, batch()))
    assert found == {"adapter_dead_units_share": 0.5}
    assert torch.equal(output(model, batch()), before)
    assert all(module.activation is torch.nn.functional.relu for module in bottlenecks)


def test_unmoved_biases_are_counted() -> None:
    model, method = backbone(), BitFit()
    method.adapt(model)
    pretrained = {name: value.clone() for name, value in model.state_dict().items()}
    biases = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = sum(bias.numel() for bias in biases)
    for bias in biases[1:]:
        bias.data += 1.0
    found = method.idle(model, pretrained, lambda: None)
    assert found["bias_unmoved_share"] == pytest.approx(biases[0].numel() / total)


def test_methods_report_what_idles() -> None:
    model = backbone()
    LoRA(r=2).adapt(model)
    for part in LoRA(r=2).parts_of(model, {}):
        nn.init.normal_(part.parameters[1])
    assert 1 <= LoRA(r=2).idle(model, {}, lambda: None)["lora_effective_rank_mean"] <= 2
