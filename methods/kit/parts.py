"""A part: one piece of what a method added or changed, which can be measured, gated and removed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from methods.kit.gates import GateReader

Restore = Callable[[], None]
"""Undoes a change of the model."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One piece of what a method added or changed; every effective count is a sum over parts.

    `Part.at` makes the part that an inserted module is. The other fields are for what is changed in place, such as
    thawed weights, and for modules that leave their work out by a switch of their own.

    Attributes:
        kind: what it is, in the field's word: `lora`, `adapter`, `prefix`, `bias`, `weight`.
        layer: index of its transformer layer; None outside the layers (embeddings, pooler).
        stack: the stack of layers it stands in where a model has several that count from 0, such as
            `encoder` and `decoder`; empty where there is one.
        site: where in the layer it acts: `query`, `value`, `ffn`, `attention`, ...
        module: the module whose output the part changes. On one and the same input, the change of
            that output when the part is removed is the part's contribution.
        base: what stands in the place of `module` once the part is removed; None where `module` stays.
        parameters: the parameters it consists of, without those of its gate.
        remove: takes the part out of the model, so that its work is no longer done, and returns the
            function that puts it back.
        gate: reads the part's gate in the current forward pass; None if it has none.
        drop: takes the part out for good, with all that serves it alone; None if the part can only be removed.
        fold: replaces the part's gate by this number for good; None if that cannot be done exactly.
    """

    kind: str
    layer: int | None
    site: str
    module: nn.Module
    parameters: tuple[nn.Parameter, ...]
    remove: Callable[[], Restore]
    gate: GateReader | None = None
    drop: Callable[[], object] | None = None
    fold: Callable[[float], None] | None = None
    stack: str = ""
    base: nn.Module | None = None

    @classmethod
    def at(
        cls,
        owner: nn.Module,
        path: str,
        *,
        base: nn.Module,
        kind: str,
        site: str,
        layer: int | None = None,
        stack: str = "",
        changes: nn.Module | None = None,
        parameters: tuple[nn.Parameter, ...] | None = None,
        gate: GateReader | None = None,
        fold: Callable[[float], None] | None = None,
    ) -> Part:
        """The part that an inserted module is: removing it puts another module in its place.

        Args:
            owner: the module that the part stands in.
            path: the part's name in `owner`, such as `attention.self.query`.
            base: what stands there without the part: the module that it replaced, or `nn.Identity()`.
            kind: see the attributes of `Part`.
            site: see the attributes of `Part`.
            layer: see the attributes of `Part`.
            stack: see the attributes of `Part`.
            changes: the enclosing module whose output shows the part's work, where the part is only called by it
                and its own output is not what it would be compared with; None: the part itself.
            parameters: those that the part consists of; None: all of its module that `base` does not have.
            gate: see the attributes of `Part`.
            fold: see the attributes of `Part`.

        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> part = Part.at(model, "1", base=nn.Identity(), kind="extra", site="last")
        >>> part.name, part.size
        ('extra.-.last', 6)
        >>> restore = part.remove()
        >>> model[1]
        Identity()
        """
        module = owner.get_submodule(path)
        if parameters is None:
            shared = {id(parameter) for parameter in base.parameters()}
            parameters = tuple(parameter for parameter in module.parameters() if id(parameter) not in shared)

        def remove() -> Restore:
            base.train(module.training)
            put_back = put(owner, path, base)

            def restore() -> None:
                module.train(base.training)  # calls of model.train() and model.eval() did not reach it
                put_back()

            return restore

        return cls(
            kind=kind,
            layer=layer,
            stack=stack,
            site=site,
            module=module if changes is None else changes,
            base=base if changes is None else None,
            parameters=parameters,
            remove=remove,
            drop=remove,
            gate=gate,
            fold=fold,
        )

    def without(self, *args: Any, **kwargs: Any) -> Any:
        """What `module` yields for these inputs when the part is removed; the part is back afterwards."""
        restore = self.remove()
        try:
            return (self.module if self.base is None else self.base).forward(*args, **kwargs)
        finally:
            restore()

    @property
    def name(self) -> str:
        """A name unique within its model, such as `lora.3.query`, or `weight.decoder.0.layer` with a stack."""
        layer = "-" if self.layer is None else str(self.layer)
        return ".".join(filter(None, (self.kind, self.stack, layer, self.site)))

    @property
    def size(self) -> int:
        """How many parameters it holds."""
        return sum(parameter.numel() for parameter in self.parameters)


def put(owner: nn.Module, path: str, module: nn.Module) -> Restore:
    """Puts `module` at `path` in `owner`; returns the function that puts the old one back."""
    old = owner.get_submodule(path)
    owner.set_submodule(path, module)
    return lambda: owner.set_submodule(path, old)


def switch(module: nn.Module, name: str = "removed") -> Callable[[], Restore]:
    """The `remove` of a part for a module that leaves its work out while its attribute `name` is True."""

    def remove() -> Restore:
        setattr(module, name, True)
        return lambda: setattr(module, name, False)

    return remove


def layer_index(name: str) -> int | None:
    """The number of the layer in a parameter's name; None without one.

    >>> layer_index("encoder.layer.3.output.dense.bias")
    3
    """
    match = re.search(r"\.(\d+)\.", name)
    return int(match.group(1)) if match else None


def thawed_parts(model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
    """One part for each layer, and for each module outside the layers, that has thawed parameters.

    Args:
        model: the adapted backbone.
        pretrained: its weights before training, by name; a parameter that is not among them belongs to no part.
    """
    groups: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name in pretrained:
            groups.setdefault(_owner(name), {})[name] = parameter
    return [_part(model, owner, group, pretrained) for owner, group in groups.items()]


def _acts_on(model: PreTrainedModel, owner: str, group: dict[str, nn.Parameter]) -> nn.Module:
    """The module whose output shows that the group changed: its owner, or the model where a weight has several owners.

    A weight that several modules share (BART's token embeddings) is named after the first of them, which may
    not be one that runs; only the model's output is behind all of them.
    """
    thawed = {id(parameter) for parameter in group.values()}
    owners = {_owner(name) for name, p in model.named_parameters(remove_duplicate=False) if id(p) in thawed}
    return model if len(owners) > 1 else model.get_submodule(owner)


def _owner(name: str) -> str:
    """The path of the module that a parameter is grouped under: its layer, or else the topmost module that holds it.

    It is empty for a parameter of the model itself.
    """
    index = layer_index(name)
    if index is None:
        return name.rpartition(".")[0].split(".")[0]
    marker = f".{index}."
    return name[: name.index(marker) + len(marker) - 1]


def _part(model: PreTrainedModel, owner: str, group: dict[str, nn.Parameter], pretrained: Mapping[str, Tensor]) -> Part:
    """The part that a group of thawed parameters is; removing it puts their pretrained values back."""

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
    """The stack of layers in the name of a parameter or module; empty where the model has one stack.

    An encoder-decoder counts the layers of both from 0 (`encoder.layers.0...`, `decoder.layers.0...`).
    """
    several = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return name.split(".")[0] if several and layer_index(name) is not None else ""
