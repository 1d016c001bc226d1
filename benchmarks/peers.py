"""How fast and how large are our methods against those of peft, and against the bare model?

    python -m benchmarks.peers --model minilm-l6 --rounds 40

It prints a markdown table. It takes several minutes (an estimate); --only pairs, bare or full makes one part of it.
Nothing else may run on the machine; a `!` marks an interval that is too wide to conclude.

Both sides have the same weights, configuration and batch, and take turns. The rows of peft are its modules around our
backbone and head. peft has no BitFit, so a plain loop over the biases stands in for it.
"""

from __future__ import annotations

import argparse
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from bench.costs.memory import padded_batch
from bench.grid.worker import quiet
from bench.meters.allocator import in_force, use
from bench.meters.instruments.live_tensors import LiveTensors
from bench.meters.interleave import Ratio, interleave, ratios
from bench.records.spec import ProfileShape, Protocol
from bench.registry.methods import method_of, resolve_method
from bench.sources.models import fetch_model
from bench.tasks import kind_of_outputs
from bench.training.classifier import Pooled, load_classifier
from bench.training.loop import gradient_step
from bench.training.prepared import adapt, prepare_torch
from methods.kit.base import Classifier, Method, freeze
from reports.columns.numerals import fixed, with_interval
from reports.formats.text import markdown_row

Step = Callable[[], object]
OUTPUTS = 2
KIND = kind_of_outputs(OUTPUTS)
PAIRS = {"lora": "lora", "prefix[hidden=0]": "prefix", "bitfit": "biases"}
"""Our method -> the peer that it is compared with."""


def take_past_key_values(backbone: nn.Module) -> None:
    """Lets a backbone take its cache by the name that peft gives it, `past_key_values`.

    From transformers 5.24 on its name is `cache`; peft 0.21.2's goes into the other keywords there, and nowhere.
    """
    forward = backbone.forward
    if "past_key_values" in inspect.signature(forward).parameters:
        return

    def renamed(*args: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        return forward(*args, cache=past_key_values, **kwargs)

    backbone.forward = renamed


@dataclass(frozen=True)
class Row:
    """One row of the table: what is compared, at which batch x tokens, the ratio and the goal for it."""

    what: str
    shape: str
    ratio: Ratio | float
    goal: str

    def line(self) -> str:
        """In markdown."""
        if isinstance(self.ratio, float):
            ratio = f"{fixed(self.ratio)} (exact)"
        else:
            flag = " !" if self.ratio.wide else ""
            ratio = with_interval(self.ratio.ratio, self.ratio.low, self.ratio.high) + flag
        return markdown_row([self.what, self.shape, ratio, self.goal])


class Peers:
    """Builds our classifiers and those of peft on one backbone, and their steps."""

    def __init__(self, model: str) -> None:
        self.protocol = Protocol()
        self.device = prepare_torch(self.protocol)
        self.backbone = fetch_model(model)
        self._shared: dict[str, Tensor] = {}

    def fresh(self) -> Classifier:
        """The bare model, frozen, with a head that is trained.

        All classifiers share one copy of the pretrained weights, so that none fills the CPU caches with another one.
        """
        classifier = load_classifier(self.backbone, outputs=OUTPUTS, head="mean", seed=0)
        freeze(classifier)
        for name, parameter in classifier.named_parameters():
            parameter.data = self._shared.setdefault(name, parameter.data)
        for parameter in classifier.head_parameters().values():
            parameter.requires_grad_(True)
        return classifier

    def ours(self, text: str, *, merged: bool = False, deployed: bool = False) -> tuple[Classifier, Method]:
        """A classifier adapted by one of our methods, and the method."""
        method = method_of(resolve_method(text).spec)
        classifier = adapt(self.fresh(), method, kind=KIND, labels=KIND.encode([0, 1]), seed=0)
        if deployed or merged:
            method.eject(classifier.backbone)
        if merged:
            method.merge(classifier.backbone)
        return classifier, method

    def theirs(self, name: str) -> Classifier:
        """A classifier adapted by the peer with this name in `PAIRS`."""
        import peft

        classifier = self.fresh()
        if name == "biases":
            for path, parameter in classifier.backbone.named_parameters():
                parameter.requires_grad_(path.endswith("bias"))
            return classifier
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            if name == "lora":
                config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], lora_dropout=0.0)
                peft.inject_adapter_in_model(config, classifier.backbone)
                return classifier
            prefix = peft.PrefixTuningConfig(num_virtual_tokens=10, task_type="FEATURE_EXTRACTION")
            bare = self.outputs(classifier)
            take_past_key_values(classifier.backbone)
            wrapped = Pooled(
                cast(Any, peft.get_peft_model(classifier.backbone, prefix)), outputs=OUTPUTS, pooling="mean", seed=0
            )
        if torch.allclose(bare, self.outputs(wrapped), atol=1e-4):
            raise RuntimeError("peft's prefix does nothing with this transformers: nothing to compare with")
        return wrapped

    def outputs(self, classifier: Classifier) -> Tensor:
        """The logits of a classifier on a small batch, (2, outputs)."""
        with torch.inference_mode():
            logits: Tensor = classifier.eval()(**padded_batch((2, 8), self.device))
        return logits

    def train_step(self, classifier: Classifier, shape: tuple[int, int]) -> Step:
        """A training step with AdamW."""
        batch, labels = padded_batch(shape, self.device), KIND.made_up(shape)
        trainable = [p for p in classifier.parameters() if p.requires_grad]
        for parameter in trainable:  # what is trained must not be shared
            parameter.data = parameter.data.clone()
        optimizer = torch.optim.AdamW(trainable, lr=1e-4, weight_decay=0.0, fused=True)
        classifier.train()

        def step() -> torch.optim.Optimizer:
            gradient_step(classifier, None, optimizer, batch, labels, self.protocol, loss_of=KIND.loss)
            optimizer.zero_grad()
            return optimizer

        return step

    def forward(self, classifier: Classifier, shape: tuple[int, int]) -> Step:
        """A forward pass."""
        batch = padded_batch(shape, self.device)
        if shape[0] == 1:
            batch["attention_mask"][:] = 1
        classifier.eval()

        def step() -> Tensor:
            with torch.inference_mode():
                logits: Tensor = classifier(**batch)
                return logits

        return step

    def live(self, classifier: Classifier, shape: tuple[int, int], *, training: bool) -> int:
        """Peak bytes of live tensors in a step."""
        step = self.train_step(classifier, shape) if training else self.forward(classifier, shape)
        made = step()
        optimizer = made if isinstance(made, torch.optim.Optimizer) else None
        with LiveTensors(classifier, optimizer=optimizer) as meter:
            step()
        return meter.figures.peak_bytes


def timed(steps: dict[str, Step], baseline: str, rounds: int) -> dict[str, Ratio]:
    """Times the steps in turns; the ratio of each to the baseline."""
    seconds = interleave(steps, rounds=rounds, seed=0)
    return ratios(seconds, list(steps), baseline=baseline, generator=np.random.default_rng(0))


def pairs(peers: Peers, shape: tuple[int, int], rounds: int) -> list[Row]:
    """Our methods over their peers: training step, inference, live memory."""
    words = f"{shape[0]} x {shape[1]}"
    rows = []
    for ours, theirs in PAIRS.items():
        peer = "a plain loop" if theirs == "biases" else f"peft's {theirs}"
        goal = "at most 1.00"
        train = {
            "ours": peers.train_step(peers.ours(ours)[0], shape),
            "theirs": peers.train_step(peers.theirs(theirs), shape),
        }
        rows.append(Row(f"{ours} / {peer}: training step", words, timed(train, "theirs", rounds)["ours"], goal))
        infer = {
            "ours": peers.forward(peers.ours(ours, deployed=True)[0], shape),
            "theirs": peers.forward(peers.theirs(theirs), shape),
        }
        rows.append(Row(f"{ours} / {peer}: inference", words, timed(infer, "theirs", rounds)["ours"], goal))
        for training, name in ((True, "training memory"), (False, "inference memory")):
            mine = peers.live(peers.ours(ours, deployed=not training)[0], shape, training=training)
            other = peers.live(peers.theirs(theirs), shape, training=training)
            rows.append(Row(f"{ours} / {peer}: {name}", words, mine / other, goal))
    return rows


def against_bare(peers: Peers, shape: tuple[int, int], rounds: int) -> list[Row]:
    """Inference with merged LoRA, BitFit and unmerged UniPELT, over the bare model."""
    goals = {"lora, merged": "1.00", "bitfit": "1.00", "unipelt": "at most 1.25" if shape[0] == 1 else "at most 1.10"}
    steps = {
        "bare": peers.forward(peers.fresh(), shape),
        "lora, merged": peers.forward(peers.ours("lora", merged=True)[0], shape),
        "bitfit": peers.forward(peers.ours("bitfit")[0], shape),
        "unipelt": peers.forward(peers.ours("unipelt", deployed=True)[0], shape),
    }
    times = timed(steps, "bare", rounds)
    return [Row(f"{name} / bare: inference", f"{shape[0]} x {shape[1]}", times[name], goals[name]) for name in goals]


def against_full(peers: Peers, shape: tuple[int, int], rounds: int) -> Row:
    """UniPELT's training step over full fine-tuning's."""
    steps = {
        "full": peers.train_step(peers.ours("full")[0], shape),
        "unipelt": peers.train_step(peers.ours("unipelt")[0], shape),
    }
    ratio = timed(steps, "full", rounds)["unipelt"]
    return Row("unipelt / full: training step", f"{shape[0]} x {shape[1]}", ratio, "at most 0.70")


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", choices=("pairs", "bare", "full"), help="one part of the table")
    parser.add_argument("--allocator", choices=("keep", "system"), default="keep")
    options = parser.parse_args(arguments)
    use(options.allocator)
    quiet()
    peers = Peers(options.model)
    shape = ProfileShape(model=options.model, batch=16, tokens=24)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{options.model}, {torch.get_num_threads()} threads, {versions}, {in_force()}, {options.rounds} rounds")
    print(markdown_row(["what", "batch x tokens", "ratio [95% interval]", "goal"]))
    print(markdown_row(["---"] * 4))
    if options.only in (None, "pairs"):
        for row in pairs(peers, (shape.batch, shape.tokens), options.rounds):
            print(row.line(), flush=True)
    if options.only in (None, "bare"):
        for at in ((16, 24), (32, 64), (1, 24)):
            for row in against_bare(peers, at, options.rounds if at[0] > 1 else 5 * options.rounds):
                print(row.line(), flush=True)
    if options.only in (None, "full"):
        for at in ((16, 24), (32, 64)):
            print(against_full(peers, at, options.rounds).line(), flush=True)


if __name__ == "__main__":
    main()
