"""Makes a profile: times all methods against each other, in turns in one process, at one batch size and length.

On a shared machine the time of a method measured by itself drifts by 10%, while ratios within one round repeat to 1%.
Training steps are compared with training the whole backbone, inference with the bare model. Controls, which by
construction take as long as their reference, are timed too; where one does not, the profile says that it is suspect.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.costs.memory import padded_batch
from bench.environment import describe, usable_cpus
from bench.meters.allocator import in_force
from bench.meters.clock import synchronizer
from bench.meters.interleave import StepError, interleave, ratios
from bench.records.record import Profile, ProfileRow, ProfileSetting, Timing
from bench.records.spec import HeadKind, MethodSpec, ProfileShape, Protocol
from bench.registry.methods import method_of
from bench.sources.models import Backbone, fetch_model
from bench.tasks import kind_of_outputs
from bench.training.classifier import load_classifier
from bench.training.loop import autocasting, gradient_step, make_optimizer
from bench.training.prepared import adapt, prepare_torch, resolved_device
from methods.kit.base import Classifier, Method

WHOLE = "the whole backbone trained"
BARE = "the bare model"
TRAIN = "train_step"
INFERENCE = {"infer": "inference", "infer_merged": "merged inference", "infer_single": "inference at batch 1"}
"""Name of a figure in the record -> its name in messages."""

SUSPECT_BEYOND = 0.02
"""A profile is suspect if the whole 95% interval of a control is further from 1 than this.

A control is 1 by construction. A profile has a dozen controls, so that some of their intervals will just miss 1.
Two instances of one method may differ by 2% (`benchmarks.aa`), and no saving worth reporting is smaller.
"""

Step = Callable[[], object]


def profile(specs: Sequence[MethodSpec], shape: ProfileShape, protocol: Protocol) -> Profile:
    """Times training steps and inference of all methods, and a second time if a control is off.

    Args:
        specs: the methods. One that raises has no figures, and the profile gives the reason.
        shape: model, batch size, length and rounds.
        protocol: device, precision, threads, and the norm that gradients are clipped to.

    Raises:
        UserError: the model cannot be loaded.
    """
    device = prepare_torch(protocol)
    backbone = fetch_model(shape.model)
    first = _measured(specs, backbone, shape, protocol, device)
    if first.suspect is None:
        return first
    gc.collect()  # modules refer to each other in circles, and the second measurement needs their memory
    return _measured(specs, backbone, shape, protocol, device).model_copy(update={"repeated": first.suspect})


def setting_of(shape: ProfileShape, protocol: Protocol, allocator: str) -> ProfileSetting:
    """Everything besides the methods that the times of a profile made on this machine depend on.

    Args:
        shape: model, batch size, length and rounds.
        protocol: device, precision, threads, clipping.
        allocator: its description by `bench.meters.allocator`.

    Raises:
        UserError: the model cannot be loaded.
    """
    backbone, device = fetch_model(shape.model), resolved_device(protocol)
    here = describe(device)
    return ProfileSetting(
        model=shape.model,
        revision=backbone.spec.revision,
        head=shape.head or backbone.head,
        outputs=shape.outputs,
        batch=shape.batch,
        tokens=shape.tokens,
        rounds=shape.rounds,
        threads=protocol.threads or usable_cpus(),
        device=device,
        device_name=here.get("device_name"),
        precision=protocol.precision,
        max_gradient_norm=protocol.max_gradient_norm,
        allocator=allocator,
        torch=here["versions"]["torch"],
        transformers=here["versions"]["transformers"],
        methods_code=here["methods_code"],
    )


@dataclass
class _Findings:
    """The results of a profile while it is made, by the labels of the methods.

    Attributes:
        timings: label -> figure -> time.
        unmerged: label -> what the method could not merge, and why.
        absent: label -> figure -> the reason why it is missing.
        controls: control -> time.
    """

    timings: dict[str, dict[str, Timing]] = field(default_factory=dict)
    unmerged: dict[str, str] = field(default_factory=dict)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)
    controls: dict[str, Timing] = field(default_factory=dict)

    def lack(self, label: str, figure: str, reason: str) -> None:
        """Notes why a method has no such figure."""
        self.absent.setdefault(label, {})[figure] = reason

    @contextmanager
    def costing(self, label: str, figure: str) -> Iterator[None]:
        """Turns an error inside the block into the reason why the method lacks this figure."""
        try:
            yield
        except Exception as error:
            self.lack(label, figure, _reason(error))

    def row(self, label: str) -> ProfileRow:
        """The results of one method, for the record."""
        return ProfileRow(
            **self.timings.get(label, {}), unmerged=self.unmerged.get(label), absent=self.absent.get(label, {})
        )

    @property
    def suspect(self) -> str | None:
        """A sentence on the control furthest from 1, if any is off by more than the tolerance; else None."""
        off = {
            name: timing
            for name, timing in self.controls.items()
            if timing.low > 1 + SUSPECT_BEYOND or timing.high < 1 - SUSPECT_BEYOND
        }
        if not off:
            return None
        name = max(off, key=lambda name: abs(off[name].ratio - 1))
        worst = off[name]
        return f"{name} is 1 by construction and came out as {worst.ratio:.3f} [{worst.low:.3f}, {worst.high:.3f}]"


def _measured(
    specs: Sequence[MethodSpec], backbone: Backbone, shape: ProfileShape, protocol: Protocol, device: torch.device
) -> Profile:
    bench = StepTimer(backbone, shape, protocol, device)
    findings = bench.findings
    methods: dict[str, Method] = {}
    for spec in specs:
        with findings.costing(spec.label, TRAIN):
            method = method_of(spec)
            if method.unsupported(bench.bare.backbone.config) is None:
                methods[spec.label] = method
    whole = bench.time_training(methods)
    bench.time_inference(methods, shape.batch, ("infer", "infer_merged"))
    bench.time_inference(methods, 1, ("infer_single",))
    labels = [spec.label for spec in specs if spec.label in methods or spec.label in findings.absent]
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
        rows={label: findings.row(label) for label in labels},
        setting=setting_of(shape, protocol, in_force()),
        methods={spec.label: spec for spec in specs if spec.label in labels},
        controls=findings.controls,
        suspect=findings.suspect,
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


class StepTimer:
    """Builds the classifiers of all methods, and times their steps.

    All frozen weights (in inference all weights) that equal those of the bare model share its memory, whatever their
    names. Otherwise each method would fill the CPU caches with another copy, and the times would not compare.
    """

    def __init__(self, backbone: Backbone, shape: ProfileShape, protocol: Protocol, device: torch.device) -> None:
        self._backbone, self._shape, self._protocol, self._device = backbone, shape, protocol, device
        self._head: HeadKind = shape.head or backbone.head
        self._kind = kind_of_outputs(shape.outputs)
        self.bare = self._fresh().to(device).eval()
        self.findings = _Findings()
        self._shared: dict[tuple[object, ...], list[Tensor]] = {}
        for parameter in self.bare.parameters():
            self._shared.setdefault(_likeness(parameter), []).append(parameter.data)

    def time_training(self, methods: dict[str, Method]) -> str:
        """Times a training step of every method that trains.

        The reference is a method that trains the whole backbone, if there is one, and else a plain loop that does.

        Returns:
            The name of the reference.
        """
        steps: dict[str, Step] = {}
        whole: str | None = None
        for label, method in methods.items():
            with self.findings.costing(label, TRAIN):
                classifier = self._adapted(method)
                if not any(p.requires_grad for p in classifier.parameters()):
                    self.findings.lack(label, TRAIN, "nothing is trained")
                    continue
                step = self._step(classifier, method, make_optimizer(classifier, method, self._protocol))
                if whole is None and all(p.requires_grad for p in classifier.parameters()) and method.thaws:
                    whole = label
                steps[label] = step
        if whole is not None:
            timed, failed = self._timed({**steps, _control(whole): steps[whole]}, whole)
            if whole in failed:  # it loses its figure; the others get another reference
                self.findings.lack(whole, TRAIN, failed[whole])
                del steps[whole]
                whole = None
        if whole is None:
            whole = WHOLE
            classifier = self._fresh().to(self._device).requires_grad_(True)
            steps[whole] = self._step(classifier, None, torch.optim.AdamW(classifier.parameters(), fused=True))
            timed, failed = self._timed({**steps, _control(whole): steps[whole]}, whole)
        control = _control(whole)
        for label in steps:
            if label in timed:
                self.findings.timings.setdefault(label, {})[TRAIN] = timed[label]
            else:
                self.findings.lack(label, TRAIN, failed[label])
        if control in timed:
            self.findings.controls[control] = timed[control]
        return whole

    def time_inference(self, methods: dict[str, Method], rows: int, figures: Sequence[str]) -> None:
        """Times forward passes of all methods as deployed.

        Args:
            methods: label -> method.
            rows: examples in the batch.
            figures: names of the figures to take; `infer_merged` merges the method into the backbone first.
        """
        steps: dict[tuple[str, str], Step] = {}
        exact: list[tuple[str, str]] = []  # the same modules as the bare model: these serve as controls
        for figure in figures:
            for label, method in methods.items():
                with self.findings.costing(label, figure):
                    classifier = self._deployed(method)
                    stays = method.merge(classifier.backbone) if figure == "infer_merged" else None
                    if stays is not None:
                        self.findings.unmerged[label] = stays
                        continue
                    self._share(classifier, frozen_alone=False)
                    steps[label, figure] = self._pass(classifier, rows)
                    if _same_modules(classifier, self.bare):
                        exact.append((label, figure))
        bare = self._pass(self.bare, rows)
        control = f"the pass of {BARE}{' at batch 1' if rows == 1 else ''} over itself"
        names = {f"{figure} {label}": (label, figure) for label, figure in steps}
        timed, failed = self._timed({BARE: bare, control: bare} | {n: steps[at] for n, at in names.items()}, BARE)
        for name, (label, figure) in names.items():
            if name in timed:
                self.findings.timings.setdefault(label, {})[figure] = timed[name]
                if (label, figure) in exact:
                    self.findings.controls[f"{INFERENCE[figure]} of {label} over {BARE}"] = timed[name]
            else:
                self.findings.lack(label, figure, failed[name])
        if control in timed:
            self.findings.controls[control] = timed[control]

    def _timed(self, steps: dict[str, Step], reference: str) -> tuple[dict[str, Timing], dict[str, str]]:
        """Times the steps in turns; a step that raises is left out, and the rounds begin again.

        Returns:
            The times with their ratios to the reference, and for each step without one the reason. Where the reference
            itself raises, no step has a ratio.
        """
        steps, failed = dict(steps), dict[str, str]()
        while reference in steps:
            try:
                seconds = interleave(
                    steps,
                    rounds=self._shape.rounds,
                    seed=self._shape.seed,
                    synchronize=synchronizer(self._device),
                )
            except StepError as error:
                failed[error.name] = _reason(error.__cause__ or error)
                del steps[error.name]
                continue
            generator = np.random.default_rng(self._shape.seed)
            by_step = ratios(seconds, list(steps), baseline=reference, generator=generator)
            return {name: Timing(**asdict(ratio)) for name, ratio in by_step.items()}, failed
        why = f"the reference, {reference}, failed: {failed[reference]}"
        return {}, dict.fromkeys(steps, why) | failed

    def training_step(self, method: Method) -> Step:
        """A training step of one method."""
        classifier = self._adapted(method)
        return self._step(classifier, method, make_optimizer(classifier, method, self._protocol))

    def forward_pass(self, method: Method) -> Step:
        """A forward pass of one method as deployed, unmerged."""
        classifier = self._deployed(method)
        self._share(classifier, frozen_alone=False)
        return self._pass(classifier, self._shape.batch)

    def _step(self, classifier: Classifier, method: Method | None, optimizer: torch.optim.Optimizer) -> Step:
        """A training step as the training loop does it, on a made-up batch."""
        batch = padded_batch((self._shape.batch, self._shape.tokens), self._device)
        labels = self._kind.made_up((self._shape.batch, self._shape.tokens), self._device)
        classifier.train()

        def step() -> None:
            gradient_step(classifier, method, optimizer, batch, labels, self._protocol, loss_of=self._kind.loss)
            optimizer.zero_grad()

        return step

    def _pass(self, classifier: Classifier, rows: int) -> Step:
        """A forward pass of the classifier on a made-up batch of so many rows."""
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
        classifier = self._unshared(method)
        self._share(classifier, frozen_alone=True)
        return classifier

    def _deployed(self, method: Method) -> Classifier:
        """A classifier without the modules that only training needs; no weights are shared, as a merge changes some."""
        classifier = self._unshared(method)
        method.eject(classifier.backbone)
        return classifier

    def _unshared(self, method: Method) -> Classifier:
        labels = self._kind.made_up((2, self._shape.tokens))
        return adapt(self._fresh(), method, kind=self._kind, labels=labels, seed=self._shape.seed).to(self._device)

    def _share(self, classifier: Classifier, *, frozen_alone: bool) -> None:
        """Makes parameters that equal one of the bare model use its memory.

        Args:
            classifier: whose parameters are looked at.
            frozen_alone: leave out the parameters that are trained.
        """
        for parameter in classifier.parameters():
            if frozen_alone and parameter.requires_grad:
                continue
            for shared in self._shared.get(_likeness(parameter), ()):
                if torch.equal(parameter.data, shared):
                    parameter.data = shared
                    break


def _control(whole: str) -> str:
    return f"the training step of {whole} over itself"


def _likeness(tensor: Tensor) -> tuple[object, ...]:
    """A key that equal tensors share and most others do not, so that few pairs are compared in full."""
    return (tensor.shape, tensor.dtype, tensor.device, *tensor.detach().flatten()[:4].tolist())


def _same_modules(classifier: Classifier, bare: Classifier) -> bool:
    """Whether a classifier has the modules, forward methods and parameters of the bare model, and no other hooks."""
    if classifier.backbone.config._attn_implementation != bare.backbone.config._attn_implementation:
        return False
    return _modules(classifier) == _modules(bare)


def _modules(model: nn.Module) -> list[tuple[object, ...]]:
    return [
        (
            name,
            type(module),
            "forward" in vars(module),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            sorted((key, p.shape, p.dtype) for key, p in module.named_parameters(recurse=False)),
        )
        for name, module in model.named_modules()
    ]


def _reason(error: BaseException) -> str:
    """The type and the first line of an error."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
