"""How many parameters a classifier has and trains, and the bytes that keeping them needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# safetensors' names of dtypes, in the order by which it lays tensors out (last first).
_DTYPES: dict[torch.dtype, str] = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.complex64: "C64",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
}
_ORDER = {dtype: place for place, dtype in enumerate(_DTYPES)}


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters of a classifier; one that is used in several places (tied) counts once.

    Attributes:
        trained_parameters: require a gradient, without the head's.
        head_parameters: all of the head's.
        trained_head_parameters: the head's that require a gradient.
        backbone_parameters: everything outside the head, trained or not, with what a method added.
    """

    trained_parameters: int
    head_parameters: int
    trained_head_parameters: int
    backbone_parameters: int


def count_parameters(model: nn.Module, *, head: Iterable[nn.Parameter] = ()) -> ParameterCounts:
    """Counts the parameters of `model`; on any device, `meta` included.

    Args:
        model: the whole classifier.
        head: the head's parameters; all of them must be the model's.

    Raises:
        ValueError: a parameter of the head is none of the model's.
    """
    in_head = {id(parameter) for parameter in head}
    parameters = list(model.parameters())
    strangers = in_head - {id(parameter) for parameter in parameters}
    if strangers:
        raise ValueError(f"{len(strangers)} parameters given as the head's are not in the model")
    of_head = [parameter for parameter in parameters if id(parameter) in in_head]
    others = [parameter for parameter in parameters if id(parameter) not in in_head]
    return ParameterCounts(
        trained_parameters=_size(p for p in others if p.requires_grad),
        head_parameters=_size(of_head),
        trained_head_parameters=_size(p for p in of_head if p.requires_grad),
        backbone_parameters=_size(others),
    )


def without_gradient(model: nn.Module) -> dict[str, int]:
    """After a backward pass: the parameters that require a gradient and got none, with their sizes.

    They are counted as trained and never move, so a method that has any misstates its cost.
    """
    named = model.named_parameters()
    return {name: p.numel() for name, p in named if p.requires_grad and p.grad is None}


def with_gradient(model: nn.Module) -> int:
    """After a backward pass: how many parameters got a gradient (even one of zeros)."""
    return _size(parameter for parameter in model.parameters() if parameter.grad is not None)


def state_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, in the order of the state dict; what is shared, once."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> int:
    """The exact size of the safetensors file of `tensors`, header included, without writing it.

    The file is 8 bytes of header length, a JSON header padded to a multiple of 8, and the data. The
    header holds each tensor's offsets, so its length depends on the layout: by dtype, then by name.

    Args:
        tensors: a state dict; values are not read, so `meta` tensors will do.
        metadata: what `safetensors.torch.save` would get as such.

    Raises:
        ValueError: a dtype that has no safetensors name here.
    """
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in sorted(tensors.items(), key=_layout):
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8 + end


def _layout(item: tuple[str, Tensor]) -> tuple[int, bytes]:
    name, tensor = item
    if tensor.dtype not in _ORDER:
        raise ValueError(f"{name}: no safetensors name is known for {tensor.dtype}")
    return -_ORDER[tensor.dtype], name.encode()


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
