"""Parts that act several times, share weights or stand in two stacks have contributions, or a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.contract.architectures import SMALL_MODELS, check_method, workbench
from bench.contract.workbench import Workbench
from bench.parts.effective import contributions
from bench.registry.methods import resolve_method
from bench.training.classifier import Pooled
from methods.kit.base import shared_names
from methods.kit.parts import Part, switch


def encoder_decoder() -> Pooled:
    from transformers import BartConfig, BartModel

    torch.manual_seed(3)
    config = BartConfig(
        vocab_size=50, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=40,
        pad_token_id=1, bos_token_id=2, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    return Pooled(BartModel(config), outputs=3, pooling="last", seed=5)


def bench_of(text: str, architecture: str) -> Workbench:
    method = resolve_method(text).method
    if architecture == "bart":
        return Workbench(method, encoder_decoder, vocabulary=50)
    return workbench(method, architecture)


PLACES = [
    *[(method, "albert") for method in ("full", "bitfit", "lora[r=2]", "adapter[bottleneck=4]", "prefix[hidden=0]")],
    *[(method, "deberta-v2") for method in ("lora[r=2]", "full", "bitfit")],
    *[(method, "bart") for method in ("full", "bitfit")],
    *[(method, "gpt2") for method in ("full", "bitfit", "prefix[hidden=0]", "unipelt[parts=P,hidden=0]")],
    *[(method, decoder) for decoder in ("llama", "qwen3") for method in ("full", "prefix[hidden=0]", "lora[r=2]")],
]


@pytest.mark.parametrize(("text", "architecture"), PLACES)
def test_every_part_has_a_contribution(text: str, architecture: str) -> None:
    """With padding, in two passes; that of an example is the same alone and beside a longer one."""
    bench = bench_of(text, architecture)
    pretrained = {name: value.clone() for name, value in bench.make().backbone.state_dict().items()}
    classifier = bench.adapted()
    bench.train(classifier)
    parts = bench.method.parts_of(classifier.backbone, pretrained)
    assert shared_names(parts) == []
    batch, _ = bench.batch(1)
    padded = {name: value.clone() for name, value in batch.items()}
    padded["input_ids"][2:, 5:] = 1
    padded["attention_mask"][2:, 5:] = 0
    before = bench.logits(classifier, padded)
    with torch.no_grad(), contributions(parts, classifier) as log:
        classifier(**padded)
        classifier(**{name: value[2:, :5] for name, value in padded.items()})
    values = log.values()
    assert values.shape == (10, len(parts))
    assert np.isfinite(values).all()
    assert (values.mean(axis=0) > 0).all()
    if architecture != "bart":  # its decoder reads the shifted tokens, the last of which padding moves
        np.testing.assert_allclose(values[2:6], values[6:], rtol=2e-3, atol=1e-6)
    assert torch.equal(bench.logits(classifier, padded), before), "nothing is left behind"


class Twice(nn.Module):
    """Runs one layer twice in a pass, then once on a table that belongs to no example."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Doubler()

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        self.layer(torch.ones(7, 3, 2))
        hidden = input_ids.float().unsqueeze(-1)
        out: torch.Tensor = self.layer(10 * self.layer(hidden))
        return out


class Doubler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.removed = False

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self.removed else 2 * hidden


def part(layer: nn.Module, site: str = "x") -> Part:
    return Part(kind="p", layer=0, site=site, module=layer, parameters=(), remove=switch(layer))


def test_calls_of_one_pass_are_summed_by_example() -> None:
    model = Twice()
    with contributions([part(model.layer)], model) as log:
        model(input_ids=torch.tensor([[1, 2], [3, 4]]))
        model(input_ids=torch.tensor([[5, 6]]))
    np.testing.assert_allclose(log.values(), [[1.0]] * 3)


def test_parts_of_one_name_are_refused() -> None:
    model = Twice()
    with (
        pytest.raises(ValueError, match=r"two parts are called p\.0\.x"),
        contributions([part(model.layer)] * 2, model),
    ):
        pass


@pytest.mark.parametrize("architecture", ["modernbert", "gpt2"])
def test_unipelt_of_a_prefix_alone_keeps_the_contract(architecture: str) -> None:
    method = resolve_method("unipelt[parts=P,length=3,hidden=8]").method
    findings = list(check_method(method, {architecture: SMALL_MODELS[architecture]}))
    assert {finding.status for finding in findings} == {"kept"}
    classifier = workbench(method, architecture).adapted()
    assert method.idle(classifier.backbone, {}, lambda: None) == {}
