"""A profile: the steps of all methods against each other, interleaved in one process, at one shape.

On a shared machine the time of one method after another wanders by 10% where ratios within a round repeat
to 1%. Training is compared with training the whole backbone, inference with the bare model. What takes the
same time as its reference by construction is timed too, as a control: where it is off, the profile says so.
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
from bench.sources.models import Backbone, fetch
from bench.training.classifier import load_classifier
from bench.training.loop import autocasting, gradient_step, make_optimizer
from bench.training.prepared import adapt, prepare_torch, resolved_device
from methods.kit.base import Classifier, Method

WHOLE = "the whole backbone trained"
BARE = "the bare model"
TRAIN = "train_step"
INFERENCE = {"infer": "inference", "infer_merged": "merged inference", "infer_single": "inference at batch 1"}
"""Figure -> its name in words."""

SUSPECT_BEYOND = 0.02
"""A control whose 95% interval lies wholly further from 1 than this makes a profile suspect.

A control is 1 by construction. A profile holds a dozen of them, so intervals that just miss 1 are to be expected;
2% is what two instances of one method may differ by (`benchmarks.aa`) and less than any saving worth naming.
"""

Step = Callable[[], object]


def profile(specs: Sequence[MethodSpec], shape: ProfileShape, protocol: Protocol) -> Profile:
    """Times training steps and inference of all methods; once more where a control is off.

    Args:
        specs: the methods. One that raises loses its own figures, with the reason.
        shape: what is timed.
        protocol: device, precision, threads, and the norm that gradients are clipped to.

    Raises:
        UserError: the model is not to be had.
    """
    device = prepare_torch(protocol)
    backbone = fetch(shape.model)
    first = _measured(specs, backbone, shape, protocol, device)
    if first.suspect is None:
        return first
    gc.collect()  # modules refer to each other in circles, and the second measurement needs their memory
    return _measured(specs, backbone, shape, protocol, device).model_copy(update={"repeated": first.suspect})


def setting_of(shape: ProfileShape, protocol: Protocol, allocator: str) -> ProfileSetting:
    """The key of a profile that is made on this machine: all that its times depend on, beside its methods.

    Args:
        shape: what is timed.
        protocol: device, precision, threads, clipping.
        allocator: in the words of `bench.meters.allocator`.

    Raises:
        UserError: the model is not to be had.
    """
    backbone, device = fetch(shape.model), resolved_device(protocol)
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
    """What a profile collects, by the methods' labels."""

    timings: dict[str, dict[str, Timing]] = field(default_factory=dict)
    unmerged: dict[str, str] = field(default_factory=dict)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)
    controls: dict[str, Timing] = field(default_factory=dict)

    def lack(self, label: str, figure: str, reason: str) -> None:
        self.absent.setdefault(label, {})[figure] = reason

    @contextmanager
    def costing(self, label: str, figure: str) -> Iterator[None]:
        """An error inside costs one figure of one method, with the reason."""
        try:
            yield
        except Exception as error:
            self.lack(label, figure, _reason(error))

    def row(self, label: str) -> ProfileRow:
        return ProfileRow(
            **self.timings.get(label, {}), unmerged=self.unmerged.get(label), absent=self.absent.get(label, {})
        )

    @property
    def suspect(self) -> str | None:
        """The control that is furthest off 1, if any is off by more than the tolerance."""
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
    bench = Workbench(backbone, shape, protocol, device)
    found = bench.findings
    methods: dict[str, Method] = {}
    for spec in specs:
        with found.costing(spec.label, TRAIN):
            method = method_of(spec)
            if method.unsupported(bench.bare.backbone.config) is None:
                methods[spec.label] = method
    whole = bench.time_training(methods)
    bench.time_inference(methods, shape.batch, ("infer", "infer_merged"))
    bench.time_inference(methods, 1, ("infer_single",))
    labels = [spec.label for spec in specs if spec.label in methods or spec.label in found.absent]
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
        rows={label: found.row(label) for label in labels},
        setting=setting_of(shape, protocol, in_force()),
        methods={spec.label: spec for spec in specs if spec.label in labels},
        controls=found.controls,
        suspect=found.suspect,
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


class Workbench:
    """Builds what is timed, and times it.

    Every frozen weight, and in inference every weight, that has the bare model's values shares its memory, under
    whatever name: no method has a cache of its own.
    """

    def __init__(self, backbone: Backbone, shape: ProfileShape, protocol: Protocol, device: torch.device) -> None:
        self._backbone, self._shape, self._protocol, self._device = backbone, shape, protocol, device
        self._head: HeadKind = shape.head or backbone.head
        self.bare = self._fresh().to(device).eval()
        self.findings = _Findings()
        self._shared: dict[tuple[object, ...], list[Tensor]] = {}
        for parameter in self.bare.parameters():
            self._shared.setdefault(_likeness(parameter), []).append(parameter.data)

    def time_training(self, methods: dict[str, Method]) -> str:
        """Times a training step of every method that trains; gives the name of the reference, the whole backbone."""
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
            if whole in failed:  # it costs its own figure; the others get another reference
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
        """Times forward passes of all methods as deployed, of so many rows; merged for the figure `infer_merged`."""
        steps: dict[tuple[str, str], Step] = {}
        exact: list[tuple[str, str]] = []
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
        """Interleaves the steps; a step that raises is left out, and the rounds begin anew.

        Returns:
            The ratios to the reference with their intervals, and why others have none. Where the reference itself
            raises, no other has a ratio.
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
            found = ratios(seconds, list(steps), baseline=reference, generator=generator)
            return {name: Timing(**asdict(ratio)) for name, ratio in found.items()}, failed
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
        classifier = self._unshared(method)
        self._share(classifier, frozen_alone=True)
        return classifier

    def _deployed(self, method: Method) -> Classifier:
        """Without what training alone needed, and with weights of its own: a merge may write into them."""
        classifier = self._unshared(method)
        method.eject(classifier.backbone)
        return classifier

    def _unshared(self, method: Method) -> Classifier:
        labels = torch.zeros(2, dtype=torch.long) if self._shape.outputs > 1 else torch.zeros(2)
        return adapt(self._fresh(), method, labels=labels, seed=self._shape.seed).to(self._device)

    def _share(self, classifier: Classifier, *, frozen_alone: bool) -> None:
        """Lets parameters that equal one of the bare model's use its memory; those that train keep their own."""
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
    """What two equal tensors have in common and most others do not, cheap to compare."""
    return (tensor.shape, tensor.dtype, tensor.device, *tensor.detach().flatten()[:4].tolist())


def _same_modules(classifier: Classifier, bare: Classifier) -> bool:
    """Whether a classifier computes just what the bare model does: the same modules with nothing hooked on them."""
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
    """One line."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
