"""Checks the contract of a method on a small random model of every architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import described
from methods.kit.sites import ARCHITECTURES, SMALL, Architecture

if TYPE_CHECKING:
    from bench.contract.workbench import Workbench
    from methods.kit.base import Method

Verdict = Literal["kept", "broken", "refused"]

SMALL_MODELS: dict[str, Architecture] = {
    name: architecture for name, architecture in ARCHITECTURES.items() if architecture.small is not None
}
"""`model_type` of transformers -> the architecture, of those that a small random model is made of for the checks."""


CRASHED_REFUSAL = (
    "unsupported() raised an error. It is called before the runs of every comparison: let it return the reason as a "
    "text, or None."
)


@dataclass(frozen=True)
class Finding:
    """The result of one check on one architecture.

    Attributes:
        architecture: the `model_type` of transformers.
        check: the name of the promise; `adapt` for a refusal.
        status: `kept`, `broken`, or `refused` if the method says that it cannot adapt this architecture.
        says: what failed, what that means and where to look; the reason of a refusal; empty if kept.
    """

    architecture: str
    check: str
    status: Verdict
    says: str = ""


def small_config(architecture: str) -> Any:
    """Makes the configuration of the small model for an architecture."""
    from transformers import AutoConfig

    return AutoConfig.for_model(architecture, **{**SMALL, **(SMALL_MODELS[architecture].small or {})})


def workbench(method: Method, architecture: str) -> Workbench:
    """Makes a workbench that checks a method on the small model of an architecture."""
    import torch

    from bench.contract.workbench import Workbench
    from bench.training.classifier import Pooled

    head = SMALL_MODELS[architecture].pooling

    def make() -> Pooled:
        torch.manual_seed(123)  # the same weights at each call
        return Pooled(_model(architecture), outputs=3, pooling=head, seed=5)

    return Workbench(method, make, vocabulary=SMALL["vocab_size"])


def _model(architecture: str) -> Any:
    """Makes a base model with random weights, without its pooler, which no head uses."""
    from transformers import AutoModel

    model = AutoModel.from_config(small_config(architecture))
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def check_method(method: Method, architectures: Mapping[str, Architecture] = SMALL_MODELS) -> Iterator[Finding]:
    """Checks every promise on every architecture.

    Args:
        method: the method to check.
        architectures: the small models to check it on.

    Yields:
        A finding for each promise, or one refusal for an architecture that the method says it cannot adapt.
    """
    from bench.contract.contract import CHECKS

    for architecture in architectures:
        try:
            reason = method.unsupported(small_config(architecture))
        except Exception as error:  # an author's code may raise anything, and the line says what and where
            yield Finding(architecture, "unsupported", "broken", f"{CRASHED_REFUSAL} {described(error)}")
            continue
        if reason is not None:
            yield Finding(architecture, "adapt", "refused", reason)
            continue
        bench = workbench(method, architecture)
        crash = _crash(bench)  # first, as otherwise every promise would report the same crash
        if crash is None:
            yield from (_finding(promise, bench, architecture) for promise in CHECKS)
        else:
            yield Finding(architecture, "adapt", "broken", crash)


def _crash(bench: Workbench) -> str | None:
    """Returns why the method cannot be trained at all; None if it can."""
    try:
        bench.train(bench.adapted())
    except Exception as error:
        return (
            f"it cannot be trained: {described(error)}. No figure can be measured. If this architecture is "
            "beyond the method, say why in unsupported(config); then its runs are refused with that reason"
        )
    return None


def _finding(promise: Callable[[Workbench], None], bench: Workbench, architecture: str) -> Finding:
    from bench.contract.contract import BrokenPromiseError

    try:
        promise(bench)
    except BrokenPromiseError as error:
        return Finding(architecture, promise.__name__, "broken", str(error))
    except Exception as error:  # an author's code may raise anything, and the line says what and where
        return Finding(architecture, promise.__name__, "broken", f"it crashed: {described(error)}")
    return Finding(architecture, promise.__name__, "kept")
