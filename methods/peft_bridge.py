"""Any peft configuration as a method: `peft:lora`, `peft:ia3`, ..., or the path of an adapter_config.json."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union, cast, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from methods.base import Method, Part, Restore
from methods.sites import ARCHITECTURES, Site, layer_index
from methods.thaw import thawed_parts

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PretrainedConfig, PreTrainedModel

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
_INITS = ("gaussian", "orthogonal")


class PeftMissingError(ValueError):
    """The package peft is not installed."""


@dataclass(frozen=True, kw_only=True)
class PeftMethod(Method):
    """A method of the package peft; a subclass for each of its types has that type's fields.

    What peft leaves trainable is what is trained; lists of modules are written `query+value`.
    """

    paper: ClassVar[str] = "https://github.com/huggingface/peft"
    kind: ClassVar[str]
    """peft's type in lower case."""

    def __post_init__(self) -> None:
        config = self.config()
        if getattr(config, "modules_to_save", None):
            raise ValueError("modules_to_save: the head is trained for every method alike, nothing else is copied")
        init = getattr(config, "init_lora_weights", True)
        if isinstance(init, str) and init not in _INITS:
            raise ValueError(f"init_lora_weights: {init} needs data or changes the frozen weights")

    @property
    def thaws(self) -> bool:  # type: ignore[override] # depends on the configuration
        """With `bias` it trains biases of the backbone."""
        return getattr(self, "bias", "none") not in ("none", False)

    def config(self) -> PeftConfig:
        """A configuration of peft, freshly made: peft writes the modules that it finds into it."""
        config, _ = _types(self.kind)
        hints = get_type_hints(config)
        own = {entry.name for entry in fields(config)}
        given = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name in own}
        made: PeftConfig = config(**{name: _listed(value, hints[name]) for name, value in given.items()})
        return made

    def unsupported(self, config: PretrainedConfig) -> str | None:
        from transformers import AutoModel

        with torch.device("meta"):
            model = AutoModel.from_config(config)
            try:
                self.adapt(model)
            except (ValueError, TypeError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0]
                # What looks at values cannot be tried without weights.
                looks = isinstance(error, RuntimeError) and "meta" in reason
                return None if looks else reason
        return None

    def adapt(self, model: PreTrainedModel) -> None:
        _, tuner = _types(self.kind)
        config = self.config()
        _aim(config, tuner, model)
        home = next(model.parameters()).device
        # Some types fill tables value by value, which `meta` cannot.
        with warnings.catch_warnings(), torch.device("cpu"):
            warnings.simplefilter("ignore")  # hints for users of peft itself
            tuner(model, config, adapter_name="default")
        nn.Module.to(model, home)
        if not any(p.requires_grad and p.numel() for p in model.parameters()):
            raise ValueError(f"{self.name} trains nothing as it is configured")

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        """A part for each layer of peft, without what it shares with others; and the thawed biases."""
        found = list(tuner_layers(model))
        uses = Counter(id(parameter) for _, layer in found for parameter in layer.parameters())
        parts = []
        for path, layer in found:
            base = {id(parameter) for parameter in layer.get_base_layer().parameters()}  # type: ignore[operator]
            own = [p for p in layer.parameters() if p.requires_grad and id(p) not in base and uses[id(p)] == 1]
            if own:
                parts.append(_part(self.kind, path, layer, tuple(own), model.config.model_type))
        if not self.thaws:
            return parts
        names = {name: name.replace(".base_layer", "") for name, _ in model.named_parameters()}
        return parts + thawed_parts(model, {n: pretrained[old] for n, old in names.items() if old in pretrained})

    def merge(self, model: PreTrainedModel) -> None:
        for path, layer in list(tuner_layers(model)):
            try:
                layer.merge()  # type: ignore[operator]
            except (NotImplementedError, RuntimeError):
                continue  # peft cannot merge it; it stays
            model.set_submodule(path, layer.get_base_layer())  # type: ignore[operator]


def tuner_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of peft in a model, with their paths."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield path, cast("nn.Module", module)


def _part(kind: str, path: str, layer: nn.Module, own: tuple[nn.Parameter, ...], model_type: str) -> Part:
    architecture = ARCHITECTURES.get(model_type)
    sites: dict[str, str] = (
        {} if architecture is None else {getattr(architecture, site): site for site in get_args(Site)}
    )
    place = re.split(r"\.\d+\.", path)[-1]
    return Part(
        kind=kind,
        layer=layer_index(path),
        site=sites.get(place, place),
        module=layer,
        parameters=own,
        remove=_disable(layer),
    )


def _disable(layer: nn.Module) -> Callable[[], Restore]:
    """Leaves a layer's added work out; peft's own switch would also touch what requires a gradient."""

    def remove() -> Restore:
        layer._disable_adapters = True  # type: ignore[assignment]

        def restore() -> None:
            layer._disable_adapters = False  # type: ignore[assignment]

        return restore

    return remove


def _aim(config: Any, tuner: Any, model: PreTrainedModel) -> None:
    """Sets the target modules where neither the user nor peft's mapping names them."""
    if getattr(config, "target_modules", None) or getattr(config, "target_parameters", None):
        return
    kind, model_type = config.peft_type.value.lower(), model.config.model_type
    if model_type in getattr(tuner, "target_module_mapping", {}) or not hasattr(config, "target_modules"):
        return
    architecture = ARCHITECTURES.get(model_type)
    if architecture is None:
        raise ValueError(f"peft:{kind} has no default target_modules for {model_type}; set target_modules=...")
    if kind == "ln_tuning":
        targets = [architecture.ffn_norm]
    elif kind == "ia3":
        targets = [architecture.key, architecture.value, architecture.ffn_out]
        config.feedforward_modules = [architecture.ffn_out]
    else:
        targets = [architecture.query, architecture.value]
    if None in targets:
        raise ValueError(f"peft:{kind} has no default target_modules for {model_type}; set target_modules=...")
    config.target_modules = targets


@cache
def _types(kind: str) -> tuple[Any, Any]:
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


@cache
def method_class(kind: str) -> type[PeftMethod]:
    """The method of a peft type, with the fields of its configuration.

    Raises:
        ValueError: peft has no such type, or it cannot be a method here; says why.
    """
    config, _ = _types(kind)
    hints = get_type_hints(config)
    entries = []
    for entry in fields(config):
        annotation = _simple(hints[entry.name])
        if entry.name in _PLUMBING or annotation is None:
            continue
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if default is not MISSING:
            default = _unlisted(default)
            entries.append((entry.name, annotation, field(default_factory=partial(copy, default))))
    names = {"kind": kind, "name": f"{PREFIX}{kind}", "__module__": __name__, "__doc__": config.__doc__}
    made = make_dataclass(f"peft_{kind}", entries, bases=(PeftMethod,), namespace=names, frozen=True, kw_only=True)
    made.__qualname__ = made.__name__
    return made


def __getattr__(name: str) -> Any:
    """Finds the classes made above again when one is unpickled."""
    if name.startswith("peft_"):
        return method_class(name.removeprefix("peft_"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    cls, (config, _) = method_class(kind), _types(kind)
    taken = {entry.name for entry in fields(cls)}
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
