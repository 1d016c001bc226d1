"""Checks the contract of a method on a small random model of every architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import described
from bench.records.spec import HeadKind

if TYPE_CHECKING:
    from bench.contract.workbench import Workbench
    from methods.kit.base import Method

Verdict = Literal["kept", "broken", "refused"]

VOCABULARY = 50
"""Token ids of the small models are below this."""
HIDDEN_SIZE = 16

_COMMON = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 40,
    "hidden_size": HIDDEN_SIZE,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": 1,
}
_TOKENS = {"bos_token_id": 2, "eos_token_id": 2}
_MODERN = {"cls_token_id": 2, "sep_token_id": 2, **_TOKENS}
_GROUPED = {"num_key_value_heads": 1, **_TOKENS}


@dataclass(frozen=True)
class SmallModel:
    """A small random model on which methods are checked.

    Attributes:
        settings: settings of its configuration, besides the common ones.
        head: the kind of head that classifiers of this architecture usually have.
    """

    settings: Mapping[str, Any]
    head: HeadKind = "mean"


SMALL_MODELS: dict[str, SmallModel] = {
    "bert": SmallModel({}),
    "roberta": SmallModel({"type_vocab_size": 1}),
    "electra": SmallModel({"embedding_size": 8}),
    "distilbert": SmallModel({"dim": HIDDEN_SIZE, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}),
    "albert": SmallModel({"embedding_size": 8}),
    "modernbert": SmallModel(_MODERN),
    "deberta-v2": SmallModel(
        {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
    ),
    "gpt2": SmallModel(
        {"n_embd": HIDDEN_SIZE, "n_layer": 2, "n_head": 2, "n_inner": 24, "n_positions": 40, **_TOKENS}, "last"
    ),
    "llama": SmallModel(_GROUPED, "last"),
    "qwen2": SmallModel(_GROUPED, "last"),
    "qwen3": SmallModel({"head_dim": 8, **_GROUPED}, "last"),
}
"""`model_type` of transformers -> the small model of that architecture."""


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

    return AutoConfig.for_model(architecture, **{**_COMMON, **SMALL_MODELS[architecture].settings})


def workbench(method: Method, architecture: str) -> Workbench:
    """Makes a workbench that checks a method on the small model of an architecture."""
    import torch

    from bench.contract.workbench import Workbench
    from bench.training.classifier import Pooled

    head = SMALL_MODELS[architecture].head

    def make() -> Pooled:
        torch.manual_seed(123)  # the same weights at each call
        return Pooled(_model(architecture), outputs=3, pooling=head, seed=5)

    return Workbench(method, make, vocabulary=VOCABULARY)


def _model(architecture: str) -> Any:
    """Makes a base model with random weights, without its pooler, which no head uses."""
    from transformers import AutoModel

    model = AutoModel.from_config(small_config(architecture))
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def check_method(method: Method, architectures: Mapping[str, SmallModel] = SMALL_MODELS) -> Iterator[Finding]:
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
