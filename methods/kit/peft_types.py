"""The types of the package peft, why some cannot be methods, and their configurations as hyper-parameters."""

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
"""Fields of a peft configuration that are no hyper-parameters."""

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
    """The configuration class and the tuner class of a type of peft.

    Raises:
        PeftMissingError: peft is not installed.
        ValueError: peft has no such type, or it cannot be a method here, with the reason.
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
    """The types that can be methods in the installed version of peft; empty without peft."""
    try:
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
        from peft.tuners.tuners_utils import BaseTuner
    except ImportError:
        return []
    tuners = {key.value.lower(): tuner for key, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}
    return [kind for kind, tuner in tuners.items() if issubclass(tuner, BaseTuner) and kind not in _REFUSED]


def hyper_parameters(kind: str) -> list[tuple[str, Any, Any]]:
    """The hyper-parameters of a type of peft: name, annotation, and default (`MISSING` where there is none).

    Raises:
        ValueError: as `types_of`.
    """
    config, _ = types_of(kind)
    hints = get_type_hints(config)
    parameters = []
    for entry in fields(config):
        annotation = _simple(hints[entry.name])
        if entry.name not in _PLUMBING and annotation is not None:
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            parameters.append((entry.name, annotation, _unlisted(default)))
    return parameters


def config_of(kind: str, values: Mapping[str, Any]) -> PeftConfig:
    """Makes a configuration of peft from hyper-parameters.

    Each model needs its own: peft writes the modules that it finds into it.
    """
    config, _ = types_of(kind)
    hints = get_type_hints(config)
    made: PeftConfig = config(**{name: _listed(value, hints[name]) for name, value in values.items()})
    return made


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """Reads a saved configuration of peft: its type, and the hyper-parameters that it sets.

    Args:
        path: of an adapter_config.json, or of its folder.

    Raises:
        ValueError: the file is no such configuration, or it sets a field that cannot be a hyper-parameter here.
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
    """The annotation of the hyper-parameter for a field of a configuration; None if its values are no plain ones."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    simple: list[Any] = []
    for member in members:
        if member in (int, float, bool, str, NoneType) or get_origin(member) is Literal:
            simple.append(member)
        elif member == list[str]:
            simple.append(str)
        elif member == list[int]:
            simple.append(tuple[int, ...])
        elif member is dict or get_origin(member) is dict:
            simple.append(dict[str, Any])
    plain = [member for member in simple if member is not NoneType]
    return Union[tuple(dict.fromkeys(simple))] if plain else None  # noqa: UP007 - made at run time


def _unlisted(value: Any) -> Any:
    """The value of a configuration's field as a hyper-parameter: names are joined by +, numbers become a tuple.

    >>> _unlisted(["query", "value"])
    'query+value'
    """
    if isinstance(value, set | list | tuple):
        items = sorted(value) if isinstance(value, set) else list(value)
        if all(isinstance(item, str) for item in items):
            return "+".join(items) or None
        return tuple(items)
    return value


def _listed(value: Any, hint: Any) -> Any:
    """The reverse of `_unlisted`: `query+value` becomes a list; any other text is a regular expression and stays."""
    if isinstance(value, tuple):
        return list(value)
    if value is None and get_origin(hint) is list:
        return []
    lists = list[str] in (hint, *get_args(hint))
    if lists and isinstance(value, str) and re.fullmatch(r"[\w.]+(\+[\w.]+)*", value):
        return value.split("+")
    return value
