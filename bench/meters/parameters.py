"""How many parameters a classifier has and trains, and the bytes that keeping them needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.meters.column import Column
from bench.meters.meter import Figures, Finding, Meter, Observed

if TYPE_CHECKING:
    from torch import Tensor, nn

_COUNT = "a sum over tensors: exact"


class Parameters(Meter):
    """Counts what a method trains and what has to be kept to deploy it."""

    name: ClassVar[str] = "parameters"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="trained_parameters",
            label="trained",
            group="parameters",
            home="result",
            says="Parameters outside the head that require a gradient and got one in the first backward pass.",
            formula="sum of |theta| over tensors with a gradient, head excluded",
            meter=_COUNT,
            error="a tensor counts whole even if only some of its rows (token embeddings) get a gradient",
        ),
        Column(
            key="stored_parameters",
            label="stored",
            group="parameters",
            home="result",
            says="Parameters outside the head that have to be kept to deploy the model, beside the pretrained backbone.",
            formula=(
                "after eject() dropped what training alone needed: sum of |theta| over tensors that require a gradient, "
                "and over frozen tensors and persistent buffers that the method added or changed"
            ),
            meter=_COUNT,
            error=(
                "what a method draws again from a seed instead of keeping it (save_projection=false in peft) is not "
                "counted; the record says so (draws_again)"
            ),
        ),
        Column(
            key="stored_share",
            label="share of backbone",
            group="parameters",
            home="report",
            says="Stored parameters over the parameters of the pretrained backbone.",
            formula="stored_parameters / backbone_parameters",
            meter=_COUNT,
            error="none known",
        ),
        Column(
            key="stored_bytes",
            label="stored bytes",
            unit="bytes",
            group="parameters",
            says="Size of the safetensors file that deployment needs: stored parameters and head.",
            formula="header + tensors, in the dtype that they have in the model",
            meter="computed from shapes and names, equal to the written file",
            error="parameters are float32; no quantisation is assumed",
        ),
        Column(
            key="head_parameters",
            label="head",
            group="parameters",
            home="result",
            better=None,
            says="Parameters of the head: what lies outside the base model, and whatever its checkpoint did not hold.",
            formula="sum of |theta| of the head",
            meter=_COUNT,
            error="none known; the same for every method but those that train no head",
        ),
        Column(
            key="backbone_parameters",
            label="backbone",
            group="parameters",
            home="result",
            better=None,
            says="Parameters of the pretrained model without the head, before the method changed it.",
            formula="sum of |theta|",
            meter=_COUNT,
            error="a pooler that the head does not use is not loaded and not counted",
        ),
    )

    def observed(self, seen: Observed) -> Figures:
        """The size of the stored tensors' file, once they are known: after the test rows were scored."""
        return {"stored_bytes": safetensors_bytes(seen.stored)} if seen.phase == "infer" else {}

    def doctor(self) -> tuple[Finding, ...]:
        return ()  # it needs nothing of the machine


# safetensors' names of torch's dtypes, in the order by which it lays tensors out (last first).
_DTYPES = {
    "torch.bool": "BOOL",
    "torch.uint8": "U8",
    "torch.int8": "I8",
    "torch.int16": "I16",
    "torch.uint16": "U16",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int32": "I32",
    "torch.uint32": "U32",
    "torch.float32": "F32",
    "torch.complex64": "C64",
    "torch.float64": "F64",
    "torch.int64": "I64",
    "torch.uint64": "U64",
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


def state_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, in the order of the state dict; what is shared, once."""
    from torch import Tensor

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
            "dtype": _DTYPES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8 + end


def _layout(item: tuple[str, Tensor]) -> tuple[int, bytes]:
    name, tensor = item
    if str(tensor.dtype) not in _ORDER:
        raise ValueError(f"{name}: no safetensors name is known for {tensor.dtype}")
    return -_ORDER[str(tensor.dtype)], name.encode()


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
