"""A count that runs the model for real leaves it as it was."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from bench.meters.instruments.flop_counter import Shaped
from bench.meters.instruments.run_flops import token_batch
from tests.bench.meters.instruments.test_flop_counter import SMALL, summed


def real_bert():
    """With weights, and with a frozen half, as a method leaves it."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**{**SMALL, "num_hidden_layers": 2}))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layer.1" in name or "bias" in name)
    return model


@pytest.mark.parametrize("training", [True, False])
def test_a_count_that_really_runs_leaves_the_model_alone(training):
    model = real_bert().train(training)
    model.bert.encoder.layer[0].train(not training)
    modes = [module.training for module in model.modules()]
    gradient = torch.full((2,), 0.5)
    model.classifier.bias.grad = gradient
    before = {name: value.clone() for name, value in model.state_dict().items()}
    identities = [id(parameter) for parameter in model.parameters()]
    state = torch.random.get_rng_state()
    shaped = Shaped(model, stand_ins=False)
    batch = token_batch((2, 8), device="cpu")
    assert shaped.train_step(batch, summed) > shaped.forward(batch)[0] > 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert [id(parameter) for parameter in model.parameters()] == identities
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.classifier.bias.grad is gradient
    assert gradient.tolist() == [0.5, 0.5]
    assert [name for name, parameter in model.named_parameters() if parameter.grad is not None] == ["classifier.bias"]


def test_a_count_that_really_runs_puts_all_back_when_the_model_raises():
    class Breaks(nn.Linear):
        def forward(self, x):
            torch.rand(1)
            raise KeyError("own")

    model = Breaks(2, 2).eval()
    model.weight.grad = torch.ones(2, 2)
    state = torch.random.get_rng_state()
    with pytest.raises(KeyError, match="own"):
        Shaped(model, stand_ins=False).train_step({"x": torch.zeros(1, 2)}, torch.sum)
    assert not model.training
    assert model.weight.grad.sum() == 4
    assert torch.equal(torch.random.get_rng_state(), state)
