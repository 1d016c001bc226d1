import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from transformers import BertConfig, BertForSequenceClassification

from bench.meters.instruments.live_tensors import LiveTensors

FLOAT = 4


def trainer(*, train_only_biases=False):
    """A small BERT's training step at 8 x 32 tokens, with its model, optimizer and inputs."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vocab_size=500
    )
    model = BertForSequenceClassification(config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not train_only_biases or "bias" in name)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    ids = torch.randint(0, 500, (8, 32))
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.zeros(8, dtype=torch.long),
    }

    def step():
        model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return model, optimizer, inputs, step


def profiled_peak_bytes(step):
    """The most that torch.profiler's memory events add up to within the step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("train_only_biases", [False, True])
def test_live_bytes_are_the_profilers_and_repeat_exactly(train_only_biases):
    model, optimizer, inputs, step = trainer(train_only_biases=train_only_biases)
    step()  # makes the optimizer's state
    found = []
    for _ in range(2):
        with LiveTensors(model, optimizer=optimizer, inputs=inputs) as meter:
            step()
        found.append(meter.figures)
    assert found[0] == found[1]
    assert found[0].end_bytes == found[0].start_bytes
    assert found[0].peak_bytes - found[0].start_bytes == pytest.approx(profiled_peak_bytes(step), rel=0.01)


def test_live_bytes_of_inference_are_the_profilers():
    model, _, inputs, _ = trainer()

    @torch.no_grad()
    def infer():
        model.eval()(**inputs)

    with LiveTensors(model, inputs=inputs) as meter:
        infer()
    figures = meter.figures
    assert figures.peak_bytes - figures.start_bytes == pytest.approx(profiled_peak_bytes(infer), rel=0.01)
    assert figures.gradients_bytes == figures.optimizer_bytes == 0


def test_the_split_by_hand():
    model = nn.Linear(100, 10, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=False)
    x = torch.ones(5, 100)
    model(x).sum().backward()
    optimizer.step()  # makes the momentum
    with LiveTensors(model, optimizer=optimizer, inputs=x) as meter:
        held = torch.zeros(7, 11)
        more = held.view(77)[3:]  # shares its storage
    weight = 100 * 10 * FLOAT
    assert meter.figures.weights_bytes == weight
    assert meter.figures.gradients_bytes == weight
    assert meter.figures.optimizer_bytes == weight
    assert meter.figures.activations_bytes == 5 * 100 * FLOAT + 7 * 11 * FLOAT
    assert meter.figures.peak_bytes == meter.figures.end_bytes == 3 * weight + (500 + 77) * FLOAT
    assert meter.figures.start_bytes == 3 * weight + 500 * FLOAT
    del held, more


def test_a_gradient_made_and_dropped_within_the_block_is_told_apart():
    model = nn.Linear(100, 10, bias=False)
    with LiveTensors(model) as meter:
        functional.linear(torch.ones(1, 100), model.weight).sum().backward()
        kept = torch.ones(100_000)  # the peak is here, with the gradient alive
        model.zero_grad()
    assert meter.figures.gradients_bytes == 100 * 10 * FLOAT
    assert meter.figures.activations_bytes >= kept.numel() * FLOAT


def test_what_dies_in_the_block_is_subtracted_and_a_resize_followed():
    with LiveTensors(nn.Identity()) as meter:
        for _ in range(3):
            torch.zeros(1000)
        grown = torch.zeros(10)
        grown.resize_(500)
    assert meter.figures.peak_bytes == 1000 * FLOAT
    assert meter.figures.end_bytes == 500 * FLOAT


def test_a_block_that_raises_is_reported_and_leaves_no_hook():
    model = nn.Linear(10, 10)

    def fail(meter):
        with meter:
            torch.zeros(1000)
            raise KeyError("own")

    meter = LiveTensors(model)
    with pytest.raises(KeyError, match="own"):
        fail(meter)
    assert meter.figures.peak_bytes == (110 + 1000) * FLOAT
    assert all(not parameter._post_accumulate_grad_hooks for parameter in model.parameters())
    live = meter._live
    torch.zeros(1000)
    assert meter._live == live
