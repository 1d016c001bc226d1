"""The promises that every method makes, as checks that an author can run (`bench check METHOD`).

A check takes a `Workbench` and raises `BrokenPromiseError`. The message says what failed, what that means for the
figures, and where to look. The tests of the built-in methods call the same checks.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterable

import torch

from bench.contract.workbench import Workbench
from methods.kit.base import Classifier, hyper_parameters, shared_names


class BrokenPromiseError(AssertionError):
    """The method breaks a promise; the message says which, what that means, and where to look."""


def _names(names: Iterable[str], most: int = 4) -> str:
    """Lists a few names, and says how many more there are."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def only_its_parameters_move(bench: Workbench) -> None:
    """Training changes no frozen tensor by a single bit, and pretrained weights are trained only if declared."""
    classifier = bench.adapted()
    # From a second classifier with the same weights, because the first one has been adapted.
    pretrained = {name: value.clone() for name, value in bench.make().backbone.state_dict().items()}
    thawed = [n for n, p in classifier.backbone.named_parameters() if p.requires_grad and n in pretrained]
    if thawed and not bench.method.thaws:
        raise BrokenPromiseError(
            f"it trains weights of the backbone: {_names(thawed)}. They would be counted and stored as the method's. "
            "If that is meant, set the class variable `thaws = True`; else leave requires_grad alone in adapt()"
        )
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    frozen = {name for name, p in classifier.named_parameters() if not p.requires_grad}
    bench.train(classifier)
    moved = [n for n, value in classifier.state_dict().items() if n in frozen and not torch.equal(value, before[n])]
    if moved:
        raise BrokenPromiseError(
            f"frozen weights changed while training: {_names(moved)}. The trained and stored counts would be too "
            "small. Look for in-place work on .data or a shared parameter in adapt() or forward()"
        )
    # Weights that need no gradient may still be changed in adapt(), or by a hook while training.
    outside = [
        name
        for name, value in classifier.backbone.state_dict().items()
        if name in pretrained and name not in thawed and not torch.equal(value, pretrained[name])
    ]
    if outside:
        raise BrokenPromiseError(
            f"adapt() or training changed pretrained weights: {_names(outside)}. What is stored would not "
            "reproduce the model. Keep the backbone's own weights as they are until merge()"
        )


def something_is_trained(bench: Workbench) -> None:
    """The method trains something besides the head, unless its class says that it does not."""
    classifier = bench.adapted()
    head = {id(parameter) for parameter in classifier.head_parameters().values()}
    trained = [n for n, p in classifier.named_parameters() if p.requires_grad and id(p) not in head]
    if bench.method.trains_backbone and not trained:
        raise BrokenPromiseError(
            "it trains nothing besides the head: after adapt() no parameter requires a gradient. Its figures would "
            "be those of `head` under another name. Look whether the names that adapt() searches for are those of "
            "this architecture's modules; if the architecture is beyond the method, say why in unsupported(config); "
            "if it is a baseline that is to train nothing, set the class variable `trains_backbone = False`"
        )
    if trained and not bench.method.trains_backbone:
        raise BrokenPromiseError(
            f"it trains {_names(trained)}, but the class says `trains_backbone = False`. A reader would take it for "
            "a baseline. Drop the class variable, or do not let these parameters require a gradient"
        )


def all_of_it_moves(bench: Workbench) -> None:
    """Every trainable tensor gets a gradient that is not zero within a few steps."""
    dead = [name for name, reached in bench.train(bench.adapted()).items() if not reached]
    if dead:
        raise BrokenPromiseError(
            f"no gradient ever reached {_names(dead)}. The trained count would include what does not train. "
            "Use the parameter in forward(), or do not let it require a gradient"
        )


def same_seed_same_result(bench: Workbench) -> None:
    """Adapting and training twice from one seed gives bit-equal logits."""
    results = []
    for _ in range(2):
        classifier = bench.adapted(seed=7)
        bench.train(classifier, seed=7)
        results.append(bench.logits(classifier))
    if not torch.equal(*results):
        raise BrokenPromiseError(
            "the same seed gave two different results. No figure could be redone. Draw random numbers from "
            "torch's global generator alone, and keep no state outside the model"
        )


def seeds_matter(bench: Workbench) -> None:
    """Different seeds give different logits, unless nothing is trained."""
    results = []
    for seed in (1, 2):
        classifier = bench.adapted(seed)
        if not any(p.requires_grad for p in classifier.parameters()):
            return
        bench.train(classifier, seed=100 * seed)
        results.append(bench.logits(classifier))
    if torch.equal(*results):
        raise BrokenPromiseError(
            "two seeds gave bit-equal results. The spread over seeds would be a false zero. Do not reset the "
            "seed in adapt(), and make sure that what is trained reaches the logits"
        )


def state_round_trips(bench: Workbench) -> None:
    """Trained tensors that are saved and loaded into a newly adapted model give equal logits."""
    first = bench.adapted(seed=1)
    bench.train(first)
    state = {name: p.detach().clone() for name, p in first.named_parameters() if p.requires_grad}
    second = bench.adapted(seed=2)  # another seed, so that every value has to come from the state
    unknown = second.load_state_dict(state, strict=False).unexpected_keys
    if unknown:
        raise BrokenPromiseError(f"adapting twice gave other parameters: {_names(unknown)} exist once only")
    if not torch.equal(bench.logits(first), bench.logits(second)):
        raise BrokenPromiseError(
            "its trained parameters, loaded into a freshly adapted model, give other logits. The chosen "
            "checkpoint would not be the one that is scored. Keep all that is learned in parameters"
        )


def _unchanged_by(bench: Workbench, act: Callable[[Classifier], None], name: str, meaning: str) -> None:
    """Checks that a hook changes no logit of a trained classifier by more than 1e-5 of the largest.

    Args:
        bench: the workbench.
        act: calls the hook.
        name: the name of the hook, for the message.
        meaning: what a change would mean for the figures, for the message.
    """
    classifier = bench.adapted()
    bench.train(classifier)
    before = bench.logits(classifier)
    act(classifier)
    error = float((bench.logits(classifier) - before).abs().max())
    if not error <= 1e-5 * max(1.0, float(before.abs().max())):  # `not <=`, so that nan is an error too
        raise BrokenPromiseError(f"{name}() changed the logits by {error:.1e}. {meaning}")


def eject_keeps_logits(bench: Workbench) -> None:
    """`eject` changes no logit, and leaves no more parameters to store than were trained."""
    _unchanged_by(
        bench,
        lambda classifier: bench.method.eject(classifier.backbone),
        "eject",
        "The test score would not be that of the chosen checkpoint",
    )
    classifier = bench.adapted()
    trained = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    bench.method.eject(classifier.backbone)
    stored = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    if stored > trained:
        raise BrokenPromiseError(
            f"eject() left {stored} parameters to store of {trained} trained: it should drop, not add"
        )


def merge_keeps_logits(bench: Workbench) -> None:
    """`eject` and `merge` change no logit by more than 1e-5."""

    def merge(classifier: Classifier) -> None:
        bench.method.eject(classifier.backbone)
        bench.method.merge(classifier.backbone)

    _unchanged_by(bench, merge, "merge", "The merged model's speed would be reported for another model")


def padding_changes_nothing(bench: Workbench) -> None:
    """Padding a batch, on the right or on the left, does not change its logits."""
    classifier = bench.adapted()
    bench.train(classifier)
    batch, _ = bench.batch(5)
    before = bench.logits(classifier, batch)
    ids = torch.ones(len(batch["input_ids"]), 4, dtype=torch.long)  # 1 is the padding token of the small models
    padding = {"input_ids": ids, "attention_mask": torch.zeros_like(ids)}
    for side in ("right", "left"):  # decoders are often padded on the left
        pieces = (batch, padding) if side == "right" else (padding, batch)
        for module in classifier.modules():
            if isinstance(module, Classifier):
                module.padded_left = side == "left"
        padded = {name: torch.cat([piece[name] for piece in pieces], dim=1) for name in batch}
        error = float((bench.logits(classifier, padded) - before).abs().max())
        if error > 1e-5 and not bench.method.reads_padding:
            raise BrokenPromiseError(
                f"padding on the {side} changed the logits by {error:.1e}: it ignores the attention mask, or counts "
                "padding as positions. Scores would depend on how rows are batched. Pass the mask on (or set "
                "`reads_padding = True` if that is what you study)"
            )


def identity_where_promised(bench: Workbench) -> None:
    """If the class says that the method starts as the identity, a newly adapted model has the bare model's logits."""
    if not bench.method.starts_as_identity:
        return
    error = float((bench.logits(bench.adapted()) - bench.logits(bench.make())).abs().max())
    if error > 0:
        raise BrokenPromiseError(
            f"before training it changes the logits by {error:.1e}, but the class says `starts_as_identity`. "
            "Initialise the last factor to zero, or drop the promise"
        )


def parts_agree_with_counts(bench: Workbench) -> None:
    """Parts have different names, hold stored parameters only, each once, and can be removed and put back exactly."""
    pretrained = bench.make().backbone.state_dict()
    classifier = bench.adapted()
    bench.train(classifier)
    bench.method.eject(classifier.backbone)
    stored = {id(p): p.numel() for p in classifier.backbone.parameters() if p.requires_grad}
    parts = bench.method.parts_of(classifier.backbone, pretrained)
    if twice := shared_names(parts):
        raise BrokenPromiseError(
            f"two parts share a name: {_names(twice)}. Their contributions would be counted as one. Give each its own "
            "kind, layer or site, and where layers of an encoder and a decoder count from 0, its stack"
        )
    # A parameter in two parts would be counted twice.
    held = [id(p) for part in parts for p in part.parameters]
    if len(set(held)) < len(held) or not set(held) <= set(stored):
        raise BrokenPromiseError(
            "parts share a parameter or hold one that is not stored: effective counts would be wrong"
        )
    before = bench.logits(classifier)
    for part in parts:
        restore = part.remove()
        bench.logits(classifier)
        restore()
    if not torch.equal(bench.logits(classifier), before):
        raise BrokenPromiseError("removing each part and putting it back changed the logits: restore() is not exact")
    # Where the parts hold all that is stored, removing all of them must leave the pretrained model.
    restores = [part.remove() for part in parts]
    removed, bare = bench.logits(classifier), bench.make()
    for restore in reversed(restores):  # a part may have been removed from within another
        restore()
    bare.load_state_dict(dict(classifier.head_parameters()), strict=False)
    covered = set(held) == set(stored)
    if covered and parts and float((removed - bench.logits(bare)).abs().max()) > 1e-5:
        raise BrokenPromiseError("with every part removed the bare model's logits should be left, but they are not")


def pickles(bench: Workbench) -> None:
    """The method can be pickled, as it is sent to other processes, and its hyper-parameters can be written as JSON."""
    try:
        twin = pickle.loads(pickle.dumps(bench.method))
        json.dumps(hyper_parameters(bench.method))
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise BrokenPromiseError(
            f"it cannot be sent to a run's process or recorded: {error}. Keep fields to numbers, strings, bools"
        ) from error
    if twin != bench.method or copy.copy(bench.method) != bench.method:
        raise BrokenPromiseError("a pickled copy is not equal to it: use a frozen dataclass and no other state")


CHECKS: tuple[Callable[[Workbench], None], ...] = (
    pickles,
    something_is_trained,
    only_its_parameters_move,
    all_of_it_moves,
    same_seed_same_result,
    seeds_matter,
    state_round_trips,
    padding_changes_nothing,
    identity_where_promised,
    eject_keeps_logits,
    merge_keeps_logits,
    parts_agree_with_counts,
)
