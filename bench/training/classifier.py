"""Builds classifiers: a pretrained backbone and a head. A method adapts the classifier, and the loop trains it."""

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
    """Pools the last hidden states of the backbone into one vector for each example, and applies a linear layer.

    Args:
        backbone: a base model without pooler.
        outputs: the number of outputs of the linear layer.
        pooling: `mean`: the mean over the tokens that are not padding; `cls`: the first of them; `last`: the last.
        seed: the seed of the weights of the linear layer, which are drawn from N(0, 0.02); its bias starts at zero.
        missing: names of the parameters of the backbone that its checkpoint lacks. They are random, and so are
            trained as part of the head.
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
        if not self.head.weight.is_meta:  # on `meta` there are shapes without values, for counting
            nn.init.normal_(self.head.weight, std=0.02, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)
        absent = set(missing)
        # By identity, since a method may wrap modules and so change the names of parameters.
        self._head = {id(parameter) for name, parameter in backbone.named_parameters() if name in absent}
        self._head |= {id(parameter) for parameter in self.head.parameters()}

    def head_parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.named_parameters() if id(parameter) in self._head}

    def forward(self, **batch: Tensor) -> Tensor:
        if self.padded_left and self._takes_positions:
            batch["position_ids"] = token_positions(batch["attention_mask"])
        hidden: Tensor = self.backbone(**batch).last_hidden_state  # (batch, tokens, hidden)
        logits: Tensor = self.head(pool(hidden, batch["attention_mask"], self.pooling))  # (batch, outputs)
        return logits


def pool(hidden: Tensor, mask: Tensor, pooling: HeadKind) -> Tensor:
    """Pools hidden states into one vector for each example.

    Args:
        hidden: (batch, tokens, hidden).
        mask: (batch, tokens), 1 for a token and 0 for padding, which may be on either side.
        pooling: `mean`, `cls` or `last`.

    Returns:
        (batch, hidden).

    >>> hidden = torch.tensor([[[1.0], [3.0], [7.0]]])
    >>> mask = torch.tensor([[1, 1, 0]])
    >>> [pool(hidden, mask, pooling).item() for pooling in ("mean", "cls", "last")]
    [2.0, 1.0, 3.0]
    """
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)
    positions = torch.arange(mask.shape[1], device=mask.device)
    # argmax returns the first of equal values: of the mask, the first token; of the positions, the last token.
    chosen = (mask * positions).argmax(1) if pooling == "last" else mask.argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), chosen]


class Native(Classifier):
    """A classifier with the sequence-classification head that transformers has for the architecture.

    Args:
        model: the base model with its head.
        outputs: the number of outputs of the head.
        missing: names of the parameters that the checkpoint lacks. They are random, and so are trained as part of the
            head.
    """

    def __init__(self, model: PreTrainedModel, *, outputs: int, missing: Iterable[str] = ()) -> None:
        backbone = cast("PreTrainedModel", model.base_model)
        super().__init__(backbone, outputs=outputs)
        forget_keys_and_values(model.config)
        self._takes_positions = takes_positions(model)
        # The parts of the head are registered one by one. Registering the whole model would give each parameter of
        # the backbone a second name. It is only kept in __dict__, to be called.
        self.head = nn.ModuleDict({name: child for name, child in model.named_children() if child is not backbone})
        self.__dict__["_model"] = model
        backbone_ids = {id(parameter) for parameter in backbone.parameters()}
        absent = set(missing)
        self._head = {
            id(parameter)
            for name, parameter in model.named_parameters()
            if id(parameter) not in backbone_ids or name in absent
        }

    def head_parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.named_parameters() if id(parameter) in self._head}

    def forward(self, **batch: Tensor) -> Tensor:
        if self.padded_left and self._takes_positions:
            batch["position_ids"] = token_positions(batch["attention_mask"])
        logits: Tensor = self.__dict__["_model"](**batch).logits
        return logits


def forget_keys_and_values(config: PretrainedConfig) -> None:
    """Switches off the key-value cache of a decoder.

    A classifier reads each text once, so it needs no cache. The cache would hold the keys and values of all layers
    until the end of the pass, and a layer that is called twice in one pass would append to it.
    """
    if getattr(config, "use_cache", False):
        config.use_cache = False


def takes_positions(model: PreTrainedModel) -> bool:
    """Tells whether the model must be given positions, counted from 0, if padding is to the left of the tokens.

    RoBERTa and its relatives compute the positions themselves, from the tokens that are not padding. Their embedding
    of positions has a row for padding (`padding_idx`), by which they are recognized here.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    tables = (m for name, m in model.named_modules() if isinstance(m, nn.Embedding) and "position" in name)
    return all(table.padding_idx is None for table in tables)


def token_positions(mask: Tensor) -> Tensor:
    """Counts the tokens that are not padding from 0, given their mask, (batch, tokens); returns the same shape.

    >>> token_positions(torch.tensor([[0, 0, 1, 1]]))
    tensor([[0, 0, 0, 1]])
    """
    return (mask.cumsum(1) - 1).clamp(min=0)


def load_classifier(
    backbone: Backbone, *, outputs: int, head: HeadKind, seed: int, padded_left: bool = False
) -> Classifier:
    """Builds the classifier that every method starts from, in float32 on the CPU.

    Args:
        backbone: the model.
        outputs: the number of outputs.
        head: the kind of head.
        seed: the seed of the initial values of the head, and of parameters that the checkpoint lacks.
        padded_left: whether the padding of its batches is to the left of the tokens.

    Raises:
        UserError: transformers has no such head for the architecture, or the files do not load.
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
    """Builds a classifier for counting: with shapes and no values on `meta`, with random weights on the CPU.

    Raises:
        UserError: transformers has no such head for the architecture.
    """
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
    """Loads a model; returns it, and the names of the parameters that its checkpoint lacks.

    Raises:
        UserError: transformers has no such model for the architecture.
    """
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
    torch.manual_seed(seed)  # transformers draws the parameters that the checkpoint lacks
    model, info = cls.from_pretrained(
        backbone.folder,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        ignore_mismatched_sizes=native,  # a published head may have another number of classes
        output_loading_info=True,
        **pooler,
    )
    renewed = {entry[0] for entry in info.get("mismatched_keys", ())}
    return model, set(info["missing_keys"]) | renewed


def _has_pooler(cls: type) -> bool:
    return "add_pooling_layer" in inspect.signature(cls).parameters


def _random(cls: Any, config: PretrainedConfig, *, seed: int, native: bool, pooler: dict[str, bool]) -> PreTrainedModel:
    """Makes a model whose backbone always has the same random weights, and whose head depends on the seed."""
    torch.manual_seed(SEED)
    model: PreTrainedModel = cls._from_config(config, dtype=torch.float32) if native else cls(config, **pooler)
    if native and seed != SEED:
        torch.manual_seed(seed)
        other = cls._from_config(config, dtype=torch.float32)
        drawn = dict(other.named_parameters())
        backbone_ids = {id(parameter) for parameter in model.base_model.parameters()}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if id(parameter) not in backbone_ids:
                    parameter.copy_(drawn[name])
    return model
