"""Checks the contract of a kind of task, with labels drawn from its `examples`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import torch

from bench.errors import described
from bench.tasks.kinds import Kind, Label, Score, kind_named, shipped_kinds
from bench.tasks.kinds.kind import Target

_ROWS = 30
_TOLERANCE = 1e-5


def check_kind(kind: str | Kind) -> list[str]:
    """Checks the promises that every kind of task makes.

    Args:
        kind: the name of a kind, or an instance of `bench.Kind`.

    Returns:
        A line for each broken promise, with what failed; an empty list if all are kept.

    Raises:
        ValueError: there is no kind with this name.

    Examples:
        >>> import bench
        >>> bench.check_kind("classes"), bench.check_kind("regression")
        ([], [])
    """
    subject = kind_named(kind) if isinstance(kind, str) else kind
    broken = list(_declared(subject))
    if broken:  # the other checks rest on what is declared
        return broken
    for check in KIND_CHECKS:
        try:
            broken += [f"{check.__name__}: {line}" for line in check(subject)]
        except Exception as error:  # an author's code may raise anything
            broken.append(f"{check.__name__}: it raised {described(error)}")
    return broken


def _declared(kind: Kind) -> Iterator[str]:
    """Yields what is wrong with the class variables."""
    if not re.fullmatch(r"[A-Za-z][\w.-]*", getattr(kind, "name", ""), re.ASCII):
        yield 'name: write name = "my-kind" in the class (letters, digits, - _ and .)'
    scores = getattr(kind, "scores", ())
    if not scores or not all(isinstance(score, Score) for score in scores):
        yield "scores: write scores = (bench.Score(...),) in the class; the first one is the headline"
        return
    shipped = {score.name: score for other in shipped_kinds().values() for score in other.scores}
    for score in scores:
        if not score.low < score.high:
            yield f"scores: {score.name} has a lowest value of {score.low} and a highest of {score.high}"
        # Reports look a score up by its name, whichever kind has it.
        if score.name in shipped and shipped[score.name] != score:
            yield f"scores: {score.name} is declared otherwise by a shipped kind; give it another name"
    if len(set(getattr(kind, "examples", ()))) < 2:
        yield "examples: write examples = (...) in the class, with at least two different labels"


def labels_come_back(kind: Kind) -> Iterator[str]:
    """Labels are read, learned as targets and written as text again without a change."""
    for label in kind.examples:
        if (reason := kind.refusal(label)) is not None:
            yield f"refusal() refuses the example {label!r}: {reason}"
    labels = _labels(kind)
    if list(map(kind.reader(set(map(type, labels))), labels)) != labels:
        yield "reader() changes labels that it has converted already"
    classes = kind.classes(labels)
    kind.check(set(labels), {"dev": labels, "test": []})
    texts = kind.texts(
        kind.encode(_targets(kind, labels)).numpy(), None if classes is None else list(map(str, classes))
    )
    if texts.tolist() != list(map(str, labels)):
        yield f"texts() gives {texts.tolist()[:3]} for the labels {labels[:3]}"


def targets_have_one_type(kind: Kind) -> Iterator[str]:
    """Targets of no rows, of rows and of made-up rows have one type, since they take the same memory."""
    encoded = kind.encode(_targets(kind, _labels(kind)))
    if kind.encode([]).dtype != encoded.dtype:
        yield f"encode([]) has the type {kind.encode([]).dtype}, and of rows {encoded.dtype}"
    made_up = kind.made_up((3, 5))
    if made_up.dtype != encoded.dtype or len(made_up) != 3:
        yield f"made_up((3, 5)) gives {made_up.dtype} of {tuple(made_up.shape)}; give 3 targets of {encoded.dtype}"
    if not kind.made_up((3, 5), "meta").is_meta:
        yield "made_up() ignores its device"


def the_loss_can_be_trained(kind: Kind) -> Iterator[str]:
    """The loss is the mean of the losses of the examples, in float32, and has finite gradients."""
    logits, targets = _logits(kind), kind.encode(_targets(kind, _labels(kind)))
    loss, losses = kind.loss(logits, targets), kind.losses(logits, targets)
    if losses.shape != (len(targets),):
        yield f"losses() has the shape {tuple(losses.shape)}; give one loss for each example"
    elif abs(float(loss - losses.mean())) > _TOLERANCE * max(1.0, abs(float(loss))):
        yield f"loss() is {float(loss):.6g}, and the mean of losses() is {float(losses.mean()):.6g}"
    if kind.loss(logits.bfloat16(), targets).dtype != torch.float32:
        yield "loss() of logits in bfloat16 is not float32; begin with logits.float()"
    logits.requires_grad_()
    for name, given in (("targets", targets), ("made_up() targets", kind.made_up(logits.shape))):
        (gradient,) = torch.autograd.grad(kind.loss(logits, given), logits)
        if not gradient.isfinite().all():
            yield f"the gradient of loss() on {name} is not finite"


def the_constant_fits_best(kind: Kind) -> Iterator[str]:
    """No small change of the constant logits lowers the loss."""
    targets = kind.encode(_targets(kind, _labels(kind)))
    outputs = kind.outputs(kind.classes(_labels(kind)))
    best = kind.constant(targets, outputs)
    if best.shape != (outputs,):
        yield f"constant() has the shape {tuple(best.shape)}; give ({outputs},)"
        return
    least = float(kind.loss(best.expand(len(targets), -1), targets))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = best + 0.3 * torch.randn(best.shape, generator=generator)
        if float(kind.loss(other.expand(len(targets), -1), targets)) < least - _TOLERANCE:
            yield f"constant() gives {best.tolist()}, but {other.tolist()} has a lower loss"
            return


def scores_are_as_declared(kind: Kind) -> Iterator[str]:
    """Scores lie within their bounds, are highest for right answers, and refuse what cannot be scored."""
    targets = np.asarray(_targets(kind, _labels(kind)))
    logits = _logits(kind).numpy()
    declared = {score.name: score for score in kind.scores}
    scored = kind.score(targets, logits)
    for name, value in scored.items():
        if name not in declared:
            yield f"score() gives {name}, which scores does not declare"
        elif not declared[name].low - _TOLERANCE <= value <= declared[name].high + _TOLERANCE:
            yield f"{name} is {value}, outside of its bounds"
    for name, value in kind.score(targets, kind.predictions(logits)).items():
        if name in scored and abs(value - scored[name]) > _TOLERANCE:
            yield f"{name} of logits is {scored[name]:.6g}, and of their predictions() {value:.6g}"
    for name, value in kind.score(targets, targets).items():
        if name in declared and abs(value - declared[name].high) > _TOLERANCE:
            yield f"{name} of right answers is {value}, not {declared[name].high}"
    correct = kind.correct(logits, targets)
    for score in kind.scores:
        if score.share_correct and (correct is None or abs(scored[score.name] - correct.mean()) > _TOLERANCE):
            yield f"{score.name} is declared as the share of correct() answers, but is not"
    for what, given in (("no examples", logits[:0]), ("outputs that are not finite", np.full_like(logits, np.nan))):
        try:
            kind.score(targets[: len(given)], given)
        except ValueError:
            continue
        yield f"score() accepts {what}; begin with self.truth_and_answers(targets, outputs)"


KIND_CHECKS: tuple[Callable[[Kind], Iterator[str]], ...] = (
    labels_come_back,
    targets_have_one_type,
    the_loss_can_be_trained,
    the_constant_fits_best,
    scores_are_as_declared,
)
"""The promises of a kind."""


def _labels(kind: Kind) -> list[Label]:
    """Makes the labels of some rows out of the examples, as `reader` converts them."""
    labels = [kind.examples[row % len(kind.examples)] for row in range(_ROWS)]
    return list(map(kind.reader(set(map(type, labels))), labels))


def _targets(kind: Kind, labels: list[Label]) -> list[Target]:
    return list(map(kind.target(kind.classes(labels)), labels))


def _logits(kind: Kind) -> torch.Tensor:
    """Draws logits for these rows, (rows, outputs)."""
    outputs = kind.outputs(kind.classes(_labels(kind)))
    return torch.randn(_ROWS, outputs, generator=torch.Generator().manual_seed(0))
