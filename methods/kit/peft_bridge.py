"""Any peft configuration as a method: `peft:lora`, `peft:ia3`, ..., or the path of an adapter_config.json."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import MISSING, dataclass, field, make_dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_args

import torch
from torch import Tensor, nn

from methods.kit.base import Method
from methods.kit.parts import Part, layer_index, stack_of, switch, thawed_parts
from methods.kit.peft_types import PREFIX, config_of, hyper_parameters, types_of
from methods.kit.sites import ARCHITECTURES, Site

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PretrainedConfig, PreTrainedModel

_INITS = ("gaussian", "orthogonal")

_SAVES = {"save_projection", "save_indices", "save_precomputed_indices"}
"""Hyper-parameters that decide whether peft saves what it drew at random and never trains."""
_SEED = "random_loc_seed"
"""The hyper-parameter of types that never save what they drew at random and keep this seed instead."""
_SAVED_BESIDE = ("shira_indices",)
"""Attributes of a layer of peft that it saves although they are in no state dict."""


@dataclass(frozen=True, kw_only=True)
class PeftMethod(Method):
    """A method of the package peft. `method_class` makes a subclass for each type of peft, with its fields.

    The parameters that peft leaves trainable are trained. Lists of modules are written `query+value`.
    """

    paper: ClassVar[str] = "https://github.com/huggingface/peft"
    kind: ClassVar[str]
    """The type in peft's enumeration, in lower case."""

    def __post_init__(self) -> None:
        config = self.config()
        if getattr(config, "modules_to_save", None):
            raise ValueError("modules_to_save: the head is trained for every method alike, nothing else is copied")
        init = getattr(config, "init_lora_weights", True)
        if isinstance(init, str) and init not in _INITS:
            raise ValueError(f"init_lora_weights: {init} needs data or changes the frozen weights")

    @property
    def thaws(self) -> bool:
        """Whether `bias` makes it train biases of the backbone."""
        return getattr(self, "bias", "none") not in ("none", False)

    @property
    def draws_again(self) -> bool:
        """Whether peft keeps a seed in place of frozen projections or indices, as with `save_projection=false`."""
        names = {name for name, _, _ in hyper_parameters(self.kind)}
        return _SEED in names or any(getattr(self, name) is False for name in names & _SAVES)

    def config(self) -> PeftConfig:
        """A configuration of peft, freshly made: peft writes the modules that it finds into it."""
        names = [name for name, _, _ in hyper_parameters(self.kind)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns of a seed in place of weights, which `draws_again` records
            return config_of(self.kind, {name: getattr(self, name) for name in names})

    def unsupported(self, config: PretrainedConfig) -> str | None:
        from transformers import AutoModel

        with torch.device("meta"):
            model = AutoModel.from_config(config)
            try:
                self.adapt(model)
            except (ValueError, TypeError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0]
                # A type that reads the values of weights cannot be tried without them: no reason to refuse it.
                needs_values = isinstance(error, RuntimeError) and "meta" in reason
                return None if needs_values else reason
        return None

    def adapt(self, model: PreTrainedModel) -> None:
        _, tuner = types_of(self.kind)
        config = self.config()
        _aim(config, tuner, model)
        home = next(model.parameters()).device
        # Some types fill tables value by value, which the device `meta` cannot: they are made on the CPU.
        with warnings.catch_warnings(), torch.device("cpu"):
            warnings.simplefilter("ignore")  # hints for users of peft itself
            tuner(model, config, adapter_name="default")
        _keep_tables(model)
        nn.Module.to(model, home)
        if not any(p.requires_grad and p.numel() for p in model.parameters()):
            raise ValueError(f"{self.name} trains nothing as it is configured")

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        """A part for each layer of peft, without the parameters that it shares with others, and the thawed biases."""
        tuned = list(tuner_layers(model))
        uses = Counter(id(parameter) for _, layer in tuned for parameter in layer.parameters())
        parts = []
        for path, layer in tuned:
            base = {id(parameter) for parameter in layer.get_base_layer().parameters()}  # type: ignore[operator]
            added = [p for p in layer.parameters() if p.requires_grad and id(p) not in base and uses[id(p)] == 1]
            if added:
                parts.append(_part(self.kind, path, layer, tuple(added), model))
        if not self.thaws:
            return parts
        # peft moved the backbone's weights into `base_layer`: each now -> its name before.
        names = {name: name.replace(".base_layer", "") for name, _ in model.named_parameters()}
        return parts + thawed_parts(model, {n: pretrained[old] for n, old in names.items() if old in pretrained})

    def merge(self, model: PreTrainedModel) -> str | None:
        refused: dict[str, str] = {}
        for path, layer in list(tuner_layers(model)):
            try:
                layer.merge()  # type: ignore[operator]
            except (ValueError, RuntimeError) as error:  # NotImplementedError is one, too
                refused[path] = str(error).strip().splitlines()[0]
            else:
                model.set_submodule(path, layer.get_base_layer())  # type: ignore[operator]
        if not refused:
            return None
        (first, why), more = next(iter(refused.items())), len(refused) - 1
        return f"peft cannot merge {first}{f' and {more} more layers' if more else ''} of {self.name}: {why}"


def tuner_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of peft in a model, each with its path."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield path, cast("nn.Module", module)


def _keep_tables(model: nn.Module) -> None:
    """Turns the tables that peft saves beside the state dict into persistent buffers, so that they are stored."""
    from peft.tuners._buffer_dict import BufferDict

    for _, layer in tuner_layers(model):
        for name in _SAVED_BESIDE:
            table = vars(layer).pop(name, None)
            if table is not None:
                setattr(layer, name, BufferDict(table, persistent=True))


def _part(kind: str, path: str, layer: nn.Module, added: tuple[nn.Parameter, ...], model: PreTrainedModel) -> Part:
    """The part that a layer of peft is, with the parameters that peft added to the module."""
    architecture = ARCHITECTURES.get(model.config.model_type)
    sites: dict[str, str] = (
        {} if architecture is None else {getattr(architecture, site): site for site in get_args(Site)}
    )
    place = re.split(r"\.\d+\.", path)[-1]
    return Part(
        kind=kind,
        layer=layer_index(path),
        stack=stack_of(path, model),
        site=sites.get(place, place),
        module=layer,
        parameters=added,
        # peft has a function to disable a layer, which would also change what requires a gradient.
        remove=switch(layer, "_disable_adapters"),
    )


def _untargeted(kind: str, model: PreTrainedModel) -> str:
    """The message that the modules to adapt have to be named, with the names that there are."""
    weighing = [path for path, module in model.named_modules() if getattr(module, "weight", None) is not None]
    there = dict.fromkeys(path.rsplit(".", 1)[-1] for path in weighing if layer_index(path) is not None)
    default = f"peft:{kind} has no default target_modules for {model.config.model_type}"
    return f"{default}; set target_modules=... (its layers have {', '.join(there)})"


def _aim(config: Any, tuner: Any, model: PreTrainedModel) -> None:
    """Sets the target modules in `config` where neither the user nor peft's mapping of architectures names them.

    Raises:
        ValueError: the architecture is not in the table of sites, or has no such modules.
    """
    if getattr(config, "target_modules", None) or getattr(config, "target_parameters", None):
        return
    kind, model_type = config.peft_type.value.lower(), model.config.model_type
    if model_type in getattr(tuner, "target_module_mapping", {}) or not hasattr(config, "target_modules"):
        return
    architecture = ARCHITECTURES.get(model_type)
    if architecture is None:
        raise ValueError(_untargeted(kind, model))
    if kind == "ln_tuning":
        targets = [architecture.ffn_norm]
    elif kind == "ia3":
        targets = [architecture.key, architecture.value, architecture.ffn_out]
        config.feedforward_modules = [architecture.ffn_out]
    else:
        targets = [architecture.query, architecture.value]
    if None in targets:
        raise ValueError(_untargeted(kind, model))
    config.target_modules = targets


@cache
def method_class(kind: str) -> type[PeftMethod]:
    """Makes the method class of a type of peft, with the fields of its configuration.

    Raises:
        ValueError: peft has no such type, or it cannot be a method here; says why.
    """
    config, _ = types_of(kind)
    entries = []
    for name, annotation, default in hyper_parameters(kind):
        value = field() if default is MISSING else field(default_factory=partial(copy, default))
        entries.append((name, annotation, value))
    names = {"kind": kind, "name": f"{PREFIX}{kind}", "__module__": __name__, "__doc__": config.__doc__}
    made = make_dataclass(f"peft_{kind}", entries, bases=(PeftMethod,), namespace=names, frozen=True, kw_only=True)
    made.__qualname__ = made.__name__
    return made


def __getattr__(name: str) -> Any:
    """Gives pickle the classes that `method_class` makes, which stand in no source."""
    if name.startswith("peft_"):
        return method_class(name.removeprefix("peft_"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
