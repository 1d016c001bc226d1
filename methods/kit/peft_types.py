"""What peft offers: its types, why some cannot be methods, and their configurations as hyper-parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from peft import PeftConfig

PREFIX = "peft:"
CONFIG_FILE = "adapter_config.json"

_PLUMBING = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "runtime_config",
    "task_type",
}
"""Fields of a configuration that are no hyper-parameters."""

_REFUSED = {
    "adalora": "its ranks are dealt out anew after each optimizer step, which needs a call in the training loop",
    "adaption_prompt": "it replaces Llama's attention for generation and is not injected into a base model",
    "poly": "it routes by the number of the task in each row, and a run has one task",
    "shadow": "it runs a second model beside the base model",
    "xlora": "it mixes adapters that were trained before",
}
_PROMPT = "it is prompt learning, which peft does not inject into a base model; prefix does that here"


class PeftMissingError(ValueError):
    """The package peft is not installed."""


@cache
def types_of(kind: str) -> tuple[Any, Any]:
    """The configuration and the tuner of a type.

    Raises:
        ValueError: peft has no such type, or it cannot be a method here; says why.
    """
    try:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
        from peft.tuners.tuners_utils import BaseTuner
    except ImportError as error:
        raise PeftMissingError(f"{PREFIX}{kind} needs the package peft: pip install 'tunebench[peft]'") from error
    configs = {key.value.lower(): config for key, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if kind not in configs:
        raise ValueError(f"{PREFIX}{kind}: peft has no such type")
    if kind in _REFUSED:
        raise ValueError(f"{PREFIX}{kind} cannot be injected: {_REFUSED[kind]}")
    tuner = {key.value.lower(): tuner for key, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}.get(kind)
    if tuner is None or not issubclass(tuner, BaseTuner):
        raise ValueError(f"{PREFIX}{kind} cannot be injected: {_PROMPT}")
    return configs[kind], tuner


def kinds() -> list[str]:
    """The types of the installed peft that can be methods; empty without peft."""
    try:
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
        from peft.tuners.tuners_utils import BaseTuner
    except ImportError:
        return []
    found = {key.value.lower(): tuner for key, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}
    return [kind for kind, tuner in found.items() if issubclass(tuner, BaseTuner) and kind not in _REFUSED]


def hyper_parameters(kind: str) -> list[tuple[str, Any, Any]]:
    """The hyper-parameters of a type: name, annotation, and default (`MISSING` if it has none).

    Raises:
        ValueError: as `types_of`.
    """
    config, _ = types_of(kind)
    hints = get_type_hints(config)
    found = []
    for entry in fields(config):
        annotation = _simple(hints[entry.name])
        if entry.name not in _PLUMBING and annotation is not None:
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            found.append((entry.name, annotation, _unlisted(default)))
    return found


def config_of(kind: str, values: Mapping[str, Any]) -> PeftConfig:
    """A configuration of peft from hyper-parameters, freshly made: peft writes the modules that it finds into it."""
    config, _ = types_of(kind)
    hints = get_type_hints(config)
    made: PeftConfig = config(**{name: _listed(value, hints[name]) for name, value in values.items()})
    return made


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """A saved configuration of peft: its type, and the hyper-parameters that it sets.

    Args:
        path: an adapter_config.json, or its folder.

    Raises:
        ValueError: it is none, or it sets what cannot be a hyper-parameter here.
    """
    file = path / CONFIG_FILE if path.is_dir() else path
    try:
        saved = json.loads(file.read_text("utf-8"))
        kind = str(saved["peft_type"]).lower()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no configuration of peft: {type(error).__name__}: {error}") from error
    config, _ = types_of(kind)
    taken = {name for name, _, _ in hyper_parameters(kind)}
    defaults = json.loads(json.dumps(config().to_dict(), default=list))
    for name, value in saved.items():
        if name not in taken and name not in _PLUMBING and value and value != defaults.get(name):
            raise ValueError(f"{file}: {name} cannot be set through tunebench")
    return kind, {name: _unlisted(value) for name, value in saved.items() if name in taken}


def _simple(hint: Any) -> Any:
    """The annotation of a hyper-parameter for a configuration's field; None if it is no plain value."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    found: list[Any] = []
    for member in members:
        if member in (int, float, bool, str, NoneType) or get_origin(member) is Literal:
            found.append(member)
        elif member == list[str]:
            found.append(str)
        elif member == list[int]:
            found.append(tuple[int, ...])
        elif member is dict or get_origin(member) is dict:
            found.append(dict[str, Any])
    plain = [member for member in found if member is not NoneType]
    return Union[tuple(dict.fromkeys(found))] if plain else None  # noqa: UP007 - made at run time


def _unlisted(value: Any) -> Any:
    """A configuration's value as a hyper-parameter: names joined by +, numbers as a tuple."""
    if isinstance(value, set | list | tuple):
        items = sorted(value) if isinstance(value, set) else list(value)
        if all(isinstance(item, str) for item in items):
            return "+".join(items) or None
        return tuple(items)
    return value


def _listed(value: Any, hint: Any) -> Any:
    """The reverse: `query+value` is a list of modules; any other text (a regular expression) stays."""
    if isinstance(value, tuple):
        return list(value)
    if value is None and get_origin(hint) is list:
        return []
    lists = list[str] in (hint, *get_args(hint))
    if lists and isinstance(value, str) and re.fullmatch(r"[\w.]+(\+[\w.]+)*", value):
        return value.split("+")
    return value
