import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, BertModel

from bench.meters.instruments.flop_counter import Shaped, count_flops
from bench.meters.instruments.operators import UncountedAttentionError
from bench.meters.instruments.run_flops import token_batch
from bench.meters.instruments.trace import fvcore_flops

HIDDEN, LAYERS, INNER = 128, 4, 512
SMALL = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": INNER,
    "vocab_size": 1000,
}


def small_bert(kind=BertModel, device="meta", attention="sdpa"):
    with torch.device(device):
        return kind(BertConfig(**SMALL, attn_implementation=attention))


def analytic_forward(rows, tokens):
    """2 a multiply-add: query, key, value, output; two products of the FFN; scores and values; pooler."""
    layer = 4 * 2 * rows * tokens * HIDDEN**2
    layer += 2 * 2 * rows * tokens * HIDDEN * INNER
    layer += 2 * 2 * rows * tokens**2 * HIDDEN
    return LAYERS * layer + 2 * rows * HIDDEN**2


def summed(output):
    return output.logits.sum() if hasattr(output, "logits") else output.pooler_output.sum()


@pytest.mark.parametrize(
    ("shape", "device", "training"),
    [((8, 64), "cpu", False), ((8, 64), "meta", True), ((3, 17), "cpu", True), ((3, 17), "meta", False)],
)
def test_a_bare_bert_costs_what_a_hand_counts_attention_included(shape, device, training):
    model = small_bert(device=device).train(training)
    counted = count_flops(model, token_batch(shape, device=device), loss_fn=summed)
    assert counted.forward_flops == pytest.approx(analytic_forward(*shape), rel=1e-3)
    # Every product has two of its size in the backward pass: for its weight and for its input.
    assert counted.train_step_flops == pytest.approx(3 * analytic_forward(*shape), rel=1e-3)
    assert fvcore_flops(model, token_batch(shape, device=device)) == pytest.approx(counted.forward_flops, rel=1e-3)
    assert counted.reason is None
    assert model.training == training


def test_the_ways_to_compute_attention_cost_the_same():
    batch = token_batch((2, 9))
    by_sdpa, by_eager = (count_flops(small_bert(attention=a), batch, loss_fn=summed) for a in ("sdpa", "eager"))
    assert by_sdpa.forward_flops == by_eager.forward_flops
    assert by_sdpa.train_step_flops == by_eager.train_step_flops


def test_ratios_of_the_reference_for_the_small_bert():
    model = small_bert(BertForSequenceClassification)
    batch = token_batch((8, 64))
    full = count_flops(model, batch, loss_fn=summed)
    backward = full.train_step_flops - full.forward_flops
    assert round(full.forward_flops / 1e6, 1) == 872.7
    assert round(backward / 1e6, 1) == 1745.4

    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("classifier"))
    head = count_flops(model, batch, loss_fn=summed)
    assert round((head.train_step_flops - head.forward_flops) / 1e6, 3) == 0.004
    assert round(head.train_step_flops / full.train_step_flops, 3) == 0.333

    for name, parameter in model.named_parameters():
        parameter.requires_grad_("bias" in name or name.startswith("classifier"))
    biases = count_flops(model, batch, loss_fn=summed)
    assert biases.train_step_flops / full.train_step_flops == pytest.approx(0.692, abs=1e-3)


def test_a_count_leaves_weights_gradients_modes_and_random_numbers_alone():
    torch.manual_seed(0)
    model = small_bert(BertForSequenceClassification, device="cpu").train()
    model.bert.encoder.layer[0].eval()
    model.classifier.bias.grad = torch.ones(2)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    identities = [id(parameter) for parameter in model.parameters()]
    state = torch.random.get_rng_state()
    count_flops(model, token_batch((2, 8), device="cpu"), loss_fn=summed)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [id(parameter) for parameter in model.parameters()] == identities
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert [n for n, p in model.named_parameters() if p.grad is not None] == ["classifier.bias"]
    assert model.training
    assert not model.bert.encoder.layer[0].training
    assert model(**token_batch((2, 8), device="cpu")).logits.device.type == "cpu"


class Hooked(nn.Module):
    """Computes a part of its work in a hook that holds on to its own modules, as a prefix network does."""

    def __init__(self):
        super().__init__()
        self.network = nn.Linear(5, 7, bias=False)
        network = self.network

        def enter(module, args, kwargs):
            module.made = network(kwargs["x"])

        self.register_forward_pre_hook(enter, with_kwargs=True)

    def forward(self, x):
        return self.made


def test_work_in_hooks_is_counted_even_after_a_real_pass():
    model = Hooked()
    model(x=torch.ones(3, 5))
    made = model.made
    counted = count_flops(model, {"x": torch.ones(3, 5)}, loss_fn=torch.sum)
    assert counted.forward_flops == 2 * 3 * 5 * 7
    assert counted.train_step_flops == 2 * counted.forward_flops  # the input needs no gradient
    assert fvcore_flops(model, {"x": torch.ones(3, 5)}) == counted.forward_flops
    assert model.made is made


class Products(nn.Module):
    """Products that FlopCounterMode alone would count as nothing."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(4, 5))
        self.vector = nn.Parameter(torch.zeros(5))

    def forward(self, x):  # (3, 4)
        product = x @ self.matrix  # 3 * 4 * 5
        product = product.clone().addmm_(x, self.matrix)  # in place: 3 * 4 * 5
        return product @ self.vector  # 3 * 5


def test_products_in_place_and_with_vectors_are_counted():
    counted = count_flops(Products(), {"x": torch.zeros(3, 4)}, loss_fn=None)
    assert counted.forward_flops == fvcore_flops(Products(), {"x": torch.zeros(3, 4)}) == 2 * (60 + 60 + 15)


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx, gradient):
        x, _ = ctx.saved_tensors
        return None, x.T @ gradient


class UsesOpaque(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 5))

    def forward(self, x):
        return Opaque.apply(x, self.weight)


def test_where_fvcore_cannot_look_it_says_so():
    counted = count_flops(UsesOpaque(), {"x": torch.zeros(3, 4)}, loss_fn=torch.sum)
    assert counted.forward_flops == 2 * 3 * 4 * 5
    assert counted.train_step_flops == 2 * counted.forward_flops
    assert fvcore_flops(UsesOpaque(), {"x": torch.zeros(3, 4)}).startswith("fvcore cannot look into python:Opaque")


class FastPath(nn.Module):
    """torch's own encoder layer, which in inference runs as one fused operator that nobody counts."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True).eval()

    def forward(self, x):
        return self.layer(x)


def test_attention_that_nobody_counts_is_an_error():
    with pytest.raises(UncountedAttentionError, match="transformer_encoder"):
        count_flops(FastPath().eval(), {"x": torch.zeros(2, 3, 8)}, loss_fn=None)


def test_what_is_left_uncounted_is_named():
    class Model(nn.Module):
        def forward(self, x):
            y = functional.softmax(x @ x.T, dim=-1)
            return torch.linalg.inv(y + torch.eye(len(x), device=x.device))

    counted = count_flops(Model(), {"x": torch.zeros(3, 4)}, loss_fn=None)
    assert set(counted.unsupported_operators) >= {"softmax", "add"}
    assert any("inv" in name for name in counted.unsupported_operators)


def test_absent_counts_have_reasons():
    frozen = nn.Linear(4, 5).requires_grad_(False)
    batch = {"input": torch.zeros(3, 4)}
    nothing = count_flops(frozen, batch, loss_fn=torch.sum)
    assert (nothing.train_step_flops, nothing.reason) == (None, "nothing is trained")
    assert count_flops(frozen, batch, loss_fn=None).reason == "no loss was given"


def test_a_model_that_raises_gets_its_tensors_back():
    class Breaks(nn.Linear):
        def forward(self, x):
            raise KeyError("own")

    model = Breaks(2, 2)
    weight = model.weight
    with pytest.raises(KeyError, match="own"):
        Shaped(model).train_step({"x": torch.zeros(1, 2)}, torch.sum)
    assert model.weight is weight
