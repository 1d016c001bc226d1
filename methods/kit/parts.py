"""A part: one piece of what a method added or changed, the unit of every effective count."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from methods.kit.gates import GateReader

Restore = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One piece of what a method added or changed; the unit of every effective-parameter count.

    Attributes:
        kind: what it is, in the field's word: `lora`, `adapter`, `prefix`, `bias`, `weight`.
        layer: index of its transformer layer; None outside the layers (embeddings, pooler).
        stack: the stack of layers it stands in where a model has several that count from 0, such as
            `encoder` and `decoder`; empty where there is one.
        site: where in the layer it acts: `query`, `value`, `ffn`, `attention`, ...
        module: the module whose output the part changes. On one and the same input, the change of
            that output when the part is removed is the part's contribution.
        parameters: the parameters it consists of, without its gate's.
        remove: takes the part out of the model (really: its work is no longer done) and returns the
            function that puts it back.
        gate: reads the part's gate in the current forward pass; None if ungated.
        drop: takes the part out for good, with all that served it alone; None if `remove` is all there is.
        fold: replaces the part's gate by this number for good; None if that cannot be done exactly.
    """

    kind: str
    layer: int | None
    site: str
    module: nn.Module
    parameters: tuple[nn.Parameter, ...]
    remove: Callable[[], Restore]
    gate: GateReader | None = None
    drop: Callable[[], None] | None = None
    fold: Callable[[float], None] | None = None
    stack: str = ""

    @property
    def name(self) -> str:
        """A name unique within its model, such as `lora.3.query`, or `weight.decoder.0.layer` with a stack."""
        layer = "-" if self.layer is None else str(self.layer)
        return ".".join(filter(None, (self.kind, self.stack, layer, self.site)))

    @property
    def size(self) -> int:
        """How many parameters it holds."""
        return sum(parameter.numel() for parameter in self.parameters)


def switch(module: nn.Module) -> Callable[[], Restore]:
    """A part's `remove` for a module that leaves its added work out while `module.removed` is true."""

    def remove() -> Restore:
        module.removed = True  # type: ignore[assignment]

        def restore() -> None:
            module.removed = False  # type: ignore[assignment]

        return restore

    return remove


def layer_index(name: str) -> int | None:
    """The layer that a parameter's name speaks of (`encoder.layer.3.output.dense.bias` -> 3)."""
    match = re.search(r"\.(\d+)\.", name)
    return int(match.group(1)) if match else None


def thawed_parts(model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
    """One part a layer, and one for each module outside the layers that has thawed parameters.

    Args:
        model: the adapted backbone.
        pretrained: its weights before training, by name; a parameter that is not there is no part.
    """
    groups: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name in pretrained:
            groups.setdefault(_owner(name), {})[name] = parameter
    return [_part(model, owner, group, pretrained) for owner, group in groups.items()]


def _acts_on(model: PreTrainedModel, owner: str, group: dict[str, nn.Parameter]) -> nn.Module:
    """The module whose output shows the group's change: its owner, or the model where a weight has several owners.

    A weight that several modules share (BART's token embeddings) is named after the first of them, which may
    not be one that runs; only the model's output is behind all of them.
    """
    own = {id(parameter) for parameter in group.values()}
    places = {_owner(name) for name, p in model.named_parameters(remove_duplicate=False) if id(p) in own}
    return model if len(places) > 1 else model.get_submodule(owner)


def _owner(name: str) -> str:
    """The module whose part a parameter is: its layer, or else the topmost module that holds it (empty: the model)."""
    index = layer_index(name)
    if index is None:
        return name.rpartition(".")[0].split(".")[0]
    marker = f".{index}."
    return name[: name.index(marker) + len(marker) - 1]


def _part(model: PreTrainedModel, owner: str, group: dict[str, nn.Parameter], pretrained: Mapping[str, Tensor]) -> Part:
    def remove() -> Restore:
        trained = {name: parameter.data for name, parameter in group.items()}
        for name, parameter in group.items():
            parameter.data = pretrained[name].to(parameter.data)

        def restore() -> None:
            for name, parameter in group.items():
                parameter.data = trained[name]

        return restore

    index = layer_index(next(iter(group)))
    return Part(
        kind="bias" if all(name.endswith("bias") for name in group) else "weight",
        layer=index,
        stack=stack_of(next(iter(group)), model),
        site=(owner or "model") if index is None else "layer",
        module=_acts_on(model, owner, group),
        parameters=tuple(group.values()),
        remove=remove,
    )


def stack_of(name: str, model: nn.Module) -> str:
    """The stack that a parameter's or module's name speaks of; empty where the model has one stack of layers.

    An encoder-decoder counts the layers of both from 0 (`encoder.layers.0...`, `decoder.layers.0...`).
    """
    several = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return name.split(".")[0] if several and layer_index(name) is not None else ""
