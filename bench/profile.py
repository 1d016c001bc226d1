"""A profile: the steps of all methods against each other, interleaved in one process, at one shape.

On a shared machine the time of one method after another wanders by 10% where ratios within a round repeat
to 1%. Training is compared with training the whole backbone, inference with the bare model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from bench.classifier import load_classifier
from bench.config import HeadKind, MethodSpec, ProfileShape, Protocol
from bench.environment import describe
from bench.footprints import padded_batch
from bench.loop import autocasting, gradient_step, make_optimizer
from bench.meters.clock import synchronizer
from bench.meters.interleave import interleave, ratios
from bench.models import Backbone, fetch
from bench.record import Profile, ProfileRow, Timing
from bench.registry import method_of
from bench.setting import adapt, prepare_torch
from methods.base import Classifier, Method

WHOLE = "the whole backbone trained"
BARE = "the bare model"
Step = Callable[[], object]


def profile(specs: Sequence[MethodSpec], shape: ProfileShape, protocol: Protocol) -> Profile:
    """Times training steps and inference of all methods.

    Args:
        specs: the methods.
        shape: what is timed.
        protocol: device, precision, threads, and the norm that gradients are clipped to.

    Raises:
        StepError: a method's step raised.
        UserError: the model is not to be had.
    """
    device = prepare_torch(protocol)
    bench = Workbench(fetch(shape.model), shape, protocol, device)
    methods = {spec.label: method_of(spec) for spec in specs}
    supported = {
        label: method for label, method in methods.items() if method.unsupported(bench.bare.backbone.config) is None
    }
    trained, whole = bench.training(supported)
    timings = {
        "train_step": _timed(trained, whole, shape, device),
        **bench.inference(supported, shape.batch, ("infer", "infer_merged")),
        **bench.inference(supported, 1, ("infer_single",)),
    }
    rows = {
        label: ProfileRow(
            **{name: found[label] for name, found in timings.items() if label in found},
            unmerged=bench.unmerged.get(label),
        )
        for label in supported
    }
    return Profile(
        model=shape.model,
        batch=shape.batch,
        tokens=shape.tokens,
        rounds=shape.rounds,
        train_reference=whole,
        infer_reference=BARE,
        threads=torch.get_num_threads(),
        device=str(device),
        environment=describe(str(device)),
        rows=rows,
    )


def _timed(
    steps: dict[str, Step], baseline: str, shape: ProfileShape, device: torch.device, rounds: int | None = None
) -> dict[str, Timing]:
    """Interleaves the steps; ratios to the baseline, with their intervals."""
    seconds = interleave(steps, rounds=rounds or shape.rounds, seed=shape.seed, synchronize=synchronizer(device))
    found = ratios(seconds, list(steps), baseline=baseline, generator=np.random.default_rng(shape.seed))
    return {name: Timing(**asdict(ratio)) for name, ratio in found.items()}


class Workbench:
    """Builds what is timed; frozen weights are shared by all, so that no method has a cache of its own."""

    def __init__(self, backbone: Backbone, shape: ProfileShape, protocol: Protocol, device: torch.device) -> None:
        self._backbone, self._shape, self._protocol, self._device = backbone, shape, protocol, device
        self._head: HeadKind = shape.head or backbone.head
        self.bare = self._fresh().to(device).eval()
        self.unmerged: dict[str, str] = {}
        """Method -> why it could not be merged, once inference was asked for merged."""
        self._shared = dict(self.bare.named_parameters())

    def training(self, methods: dict[str, Method]) -> tuple[dict[str, Step], str]:
        """A training step of every method that trains, and the name of the one that trains the whole backbone."""
        steps: dict[str, Step] = {}
        whole: str | None = None
        for label, method in methods.items():
            classifier = self._adapted(method)
            if not any(p.requires_grad for p in classifier.parameters()):
                continue
            if whole is None and all(p.requires_grad for p in classifier.parameters()) and method.thaws:
                whole = label
            steps[label] = self._step(classifier, method, make_optimizer(classifier, method, self._protocol))
        if whole is None:
            whole = WHOLE
            classifier = self._fresh().to(self._device).requires_grad_(True)
            steps[whole] = self._step(classifier, None, torch.optim.AdamW(classifier.parameters(), fused=True))
        return steps, whole

    def training_step(self, method: Method) -> Step:
        """A training step of one method."""
        classifier = self._adapted(method)
        return self._step(classifier, method, make_optimizer(classifier, method, self._protocol))

    def forward_pass(self, method: Method, *, merged: bool = False) -> Step:
        """A forward pass of one method as deployed."""
        classifier = self._adapted(method)
        method.eject(classifier.backbone)
        if merged:
            method.merge(classifier.backbone)
        return self._pass(classifier, self._shape.batch)

    def _step(self, classifier: Classifier, method: Method | None, optimizer: torch.optim.Optimizer) -> Step:
        """An ordinary training step, as the loop does it."""
        batch = padded_batch((self._shape.batch, self._shape.tokens), self._device)
        labels = torch.zeros(self._shape.batch, dtype=torch.long, device=self._device)
        if self._shape.outputs == 1:
            labels = labels.float()
        classifier.train()

        def step() -> None:
            gradient_step(classifier, method, optimizer, batch, labels, self._protocol)
            optimizer.zero_grad()

        return step

    def inference(self, methods: dict[str, Method], rows: int, names: Sequence[str]) -> dict[str, dict[str, Timing]]:
        """Forward passes of all methods as deployed, unmerged and (where two names are given) merged."""
        steps: dict[str, Step] = {BARE: self._pass(self.bare, rows)}
        for merged, name in enumerate(names):
            for label, method in methods.items():
                classifier = self._adapted(method)
                method.eject(classifier.backbone)
                if merged:
                    stays = method.merge(classifier.backbone)
                    if stays is not None:
                        self.unmerged[label] = stays
                        continue
                steps[f"{name} {label}"] = self._pass(classifier, rows)
        timed = _timed(steps, BARE, self._shape, self._device)
        return {
            name: {label: timed[f"{name} {label}"] for label in methods if f"{name} {label}" in timed} for name in names
        }

    def _pass(self, classifier: Classifier, rows: int) -> Step:
        batch = padded_batch((rows, self._shape.tokens), self._device)
        if rows == 1:  # a single text has no padding
            batch["attention_mask"][:] = 1
        autocast = autocasting(self._protocol)
        classifier.eval()

        def forward() -> Any:
            with torch.inference_mode(), autocast():
                return classifier(**batch)

        return forward

    def _fresh(self) -> Classifier:
        return load_classifier(self._backbone, outputs=self._shape.outputs, head=self._head, seed=self._shape.seed)

    def _adapted(self, method: Method) -> Classifier:
        labels = torch.zeros(2, dtype=torch.long) if self._shape.outputs > 1 else torch.zeros(2)
        classifier = adapt(self._fresh(), method, labels=labels, seed=self._shape.seed).to(self._device)
        for name, parameter in classifier.named_parameters():
            shared = self._shared.get(name)
            if shared is not None and not parameter.requires_grad:
                parameter.data = shared.data
        return classifier
