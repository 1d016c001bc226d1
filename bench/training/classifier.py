"""A backbone with a head on it: what every method adapts and the loop trains."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.records.spec import HeadKind
from bench.sources.models import Backbone
from bench.sources.random_models import SEED
from methods.kit.base import Classifier

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class Pooled(Classifier):
    """Pools the backbone's last hidden states into one vector an example; a linear layer gives the outputs.

    Args:
        backbone: a base model without pooler.
        outputs: how many logits.
        pooling: `mean` over the tokens that are no padding, `cls` the first, `last` the last one of them.
        seed: of the linear layer's weights, N(0, 0.02); its bias starts at zero.
        missing: names of the backbone's parameters that its checkpoint did not hold.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        *,
        outputs: int,
        pooling: HeadKind,
        seed: int,
        missing: Iterable[str] = (),
    ) -> None:
        super().__init__(backbone, outputs=outputs)
        forget_keys_and_values(backbone.config)
        self._takes_positions = takes_positions(backbone)
        self.pooling = pooling
        self.head = nn.Linear(backbone.config.hidden_size, outputs)
        if not self.head.weight.is_meta:
            nn.init.normal_(self.head.weight, std=0.02, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)
        absent = set(missing)
        self._head = {id(parameter) for name, parameter in backbone.named_parameters() if name in absent}
        self._head |= {id(parameter) for parameter in self.head.parameters()}

    def head_parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.named_parameters() if id(parameter) in self._head}

    def forward(self, **batch: Tensor) -> Tensor:
        if self.padded_left and self._takes_positions:
            batch["position_ids"] = positions(batch["attention_mask"])
        hidden: Tensor = self.backbone(**batch).last_hidden_state  # (batch, tokens, hidden)
        logits: Tensor = self.head(pool(hidden, batch["attention_mask"], self.pooling))
        return logits


def pool(hidden: Tensor, mask: Tensor, pooling: HeadKind) -> Tensor:
    """One vector an example.

    Args:
        hidden: (batch, tokens, hidden).
        mask: (batch, tokens), 1 where there is a token and 0 where there is padding, on either side.
        pooling: `mean`, `cls` or `last`.

    Returns:
        (batch, hidden).
    """
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)
    positions = torch.arange(mask.shape[1], device=mask.device)
    # Neither end need be a token: padding stands on either side.
    chosen = (mask * positions).argmax(1) if pooling == "last" else mask.argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), chosen]


class Native(Classifier):
    """The model's own sequence-classification head.

    Args:
        model: base model and head.
        outputs: how many logits.
        missing: names of the model's parameters that its checkpoint did not hold.
    """

    def __init__(self, model: PreTrainedModel, *, outputs: int, missing: Iterable[str] = ()) -> None:
        backbone = cast("PreTrainedModel", model.base_model)
        super().__init__(backbone, outputs=outputs)
        forget_keys_and_values(model.config)
        self._takes_positions = takes_positions(model)
        # Registered piece by piece, so that no parameter has two names; the whole is called as it is.
        self.head = nn.ModuleDict({name: child for name, child in model.named_children() if child is not backbone})
        self.__dict__["_model"] = model
        of_backbone = {id(parameter) for parameter in backbone.parameters()}
        absent = set(missing)
        self._head = {
            id(parameter)
            for name, parameter in model.named_parameters()
            if id(parameter) not in of_backbone or name in absent
        }

    def head_parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.named_parameters() if id(parameter) in self._head}

    def forward(self, **batch: Tensor) -> Tensor:
        if self.padded_left and self._takes_positions:
            batch["position_ids"] = positions(batch["attention_mask"])
        logits: Tensor = self.__dict__["_model"](**batch).logits
        return logits


def forget_keys_and_values(config: PretrainedConfig) -> None:
    """Switches the key-value cache of decoders off.

    A classifier reads its text once. The cache would hold the keys and values of all layers until the end of
    the pass, and a layer that is called again with the same cache would append to it.
    """
    if getattr(config, "use_cache", False):
        config.use_cache = False


def takes_positions(model: PreTrainedModel) -> bool:
    """Whether the model has to be told positions, counted from 0, where padding stands before the tokens.

    RoBERTa's relatives count the tokens that are no padding themselves, from behind the padding's own row in
    their table of positions: they are left alone.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    tables = (m for name, m in model.named_modules() if isinstance(m, nn.Embedding) and "position" in name)
    return all(table.padding_idx is None for table in tables)


def positions(mask: Tensor) -> Tensor:
    """Each token's place among the tokens that are no padding, from 0; (batch, tokens), as the mask."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def load_classifier(
    backbone: Backbone, *, outputs: int, head: HeadKind, seed: int, padded_left: bool = False
) -> Classifier:
    """Builds the classifier that every method starts from, in float32 on the CPU.

    Args:
        backbone: the model.
        outputs: how many logits.
        head: its kind.
        seed: decides the head's initial values, and those of what the checkpoint lacks.
        padded_left: whether its batches are padded before the tokens.

    Raises:
        UserError: the model cannot have such a head, or its files do not load.
    """
    if head not in get_args(HeadKind):
        raise UserError(f"unknown head {head!r}; there is {', '.join(get_args(HeadKind))}")
    classifier: Classifier
    if head == "native":
        model, missing = _load(backbone, native=True, seed=seed, num_labels=outputs)
        classifier = Native(model, outputs=outputs, missing=missing)
    else:
        model, missing = _load(backbone, native=False, seed=seed)
        classifier = Pooled(model, outputs=outputs, pooling=head, seed=seed, missing=missing)
    classifier.padded_left = padded_left
    return classifier


def shaped_classifier(
    config: PretrainedConfig, *, outputs: int, head: HeadKind, device: Literal["meta", "cpu"] = "meta"
) -> Classifier:
    """A classifier for counting: of shapes alone on `meta`, of random weights on the CPU."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    auto: Any = AutoModelForSequenceClassification if head == "native" else AutoModel
    with torch.device(device):
        try:
            cls = auto._model_mapping[type(config)]
        except KeyError as error:
            raise UserError(f"architecture {config.model_type} has no such model in transformers") from error
        if head == "native":
            config.update({"num_labels": outputs})
            if config.pad_token_id is None:  # a decoder's own head needs one; no count depends on which it is
                config.pad_token_id = 0
            return Native(cls._from_config(config, dtype=torch.float32), outputs=outputs)
        pooler = {"add_pooling_layer": False} if _has_pooler(cls) else {}
        return Pooled(cls(config, **pooler), outputs=outputs, pooling=head, seed=0)


def _load(backbone: Backbone, *, native: bool, seed: int, **settings: Any) -> tuple[Any, set[str]]:
    """The model and the names of parameters that its checkpoint did not hold."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    auto: Any = AutoModelForSequenceClassification if native else AutoModel
    config = backbone.config()
    try:
        cls = auto._model_mapping[type(config)]
    except KeyError as error:
        raise UserError(
            f"model {backbone.spec.name}: architecture {config.model_type} has no such model in transformers"
        ) from error
    config.update(settings)
    pooler = {} if native or not _has_pooler(cls) else {"add_pooling_layer": False}
    if backbone.folder is None:
        return _random(cls, config, seed=seed, native=native, pooler=pooler), set()
    torch.manual_seed(seed)
    model, info = cls.from_pretrained(
        backbone.folder,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        ignore_mismatched_sizes=native,
        output_loading_info=True,
        **pooler,
    )
    renewed = {entry[0] for entry in info.get("mismatched_keys", ())}
    return model, set(info["missing_keys"]) | renewed


def _has_pooler(cls: type) -> bool:
    return "add_pooling_layer" in inspect.signature(cls).parameters


def _random(cls: Any, config: PretrainedConfig, *, seed: int, native: bool, pooler: dict[str, bool]) -> PreTrainedModel:
    """A model of fixed random weights; its own head, if any, comes from `seed`."""
    torch.manual_seed(SEED)
    model: PreTrainedModel = cls._from_config(config, dtype=torch.float32) if native else cls(config, **pooler)
    if native and seed != SEED:
        torch.manual_seed(seed)
        other = cls._from_config(config, dtype=torch.float32)
        theirs = dict(other.named_parameters())
        of_backbone = {id(parameter) for parameter in model.base_model.parameters()}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if id(parameter) not in of_backbone:
                    parameter.copy_(theirs[name])
    return model
