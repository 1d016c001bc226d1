"""What methods that thaw weights share: their parts are differences to the pretrained values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from methods.base import Part, Restore
from methods.sites import layer_index, stack_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
