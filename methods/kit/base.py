"""What a fine-tuning method is: its hyper-parameters and one verb, `adapt`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

from methods.kit.parts import Part

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class Classifier(nn.Module, ABC):
    """A backbone with a head on it: input_ids, attention_mask, ... -> logits (batch, outputs).

    Attributes:
        backbone: the base model, which methods adapt.
        outputs: how many logits an example gets.
        padded_left: whether padding may stand before the tokens. Then a model with absolute positions needs
            them counted from the attention mask; without such padding it counts them itself.
        start: what every method starts from, by its names before and after the method adapted the model:
            the parameters themselves, and copies of the buffers. The harness sets it; the rest of the state
            is the method's.
        constant: gives the logits, (outputs,), that fit training labels, (examples,), best if every example gets
            the same ones. The harness sets it before `Method.begin`.
    """

    backbone: PreTrainedModel
    padded_left: bool = False
    start: Mapping[str, Tensor] = MappingProxyType({})
    constant: Callable[[Tensor], Tensor]

    def __init__(self, backbone: PreTrainedModel, *, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.outputs = outputs

    @abstractmethod
    def head_parameters(self) -> dict[str, nn.Parameter]:
        """What the harness trains for every method alike, by name."""

    @abstractmethod
    def forward(self, **batch: Tensor) -> Tensor:
        """Returns logits, shape (batch, outputs)."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to fine-tune a pretrained transformer. Fields are hyper-parameters and are recorded.

    A subclass is a frozen dataclass with a `name` and `adapt`; every other hook has a default.
    The harness freezes the backbone before `adapt` and thaws the head after it, the same for all.

    Attributes:
        name: what it is called on the command line.
        paper: where it comes from.
        thaws: it trains weights of the backbone itself, not only modules that it inserts.
        starts_as_identity: a fresh one leaves the backbone's output as it is, to the bit.
        trains_backbone: it trains something besides the head: weights of the backbone or modules that it inserts.
            False for a baseline that is there to show what the head alone (or nothing) reaches.
        learning_rate: AdamW's, for everything the method trains in the backbone.
        head_learning_rate: AdamW's, for the head; None takes the protocol's.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    thaws: ClassVar[bool] = False
    starts_as_identity: ClassVar[bool] = False
    trains_backbone: ClassVar[bool] = True

    learning_rate: Annotated[float, Gt(0)] = 1e-3
    head_learning_rate: Annotated[float, Gt(0)] | None = None

    @property
    def reads_padding(self) -> bool:
        """Whether padding changes its output, which no method should want unless that is studied."""
        return False

    @property
    def draws_again(self) -> bool:
        """Whether deploying needs frozen random numbers that are not stored: a seed has to give them again."""
        return False

    @abstractmethod
    def adapt(self, model: PreTrainedModel) -> None:
        """Inserts modules into, or thaws parameters of, the frozen backbone, in place.

        Whatever requires a gradient afterwards is what the method trains.
        """

    def unsupported(self, config: PretrainedConfig) -> str | None:
        """Says why a model of this configuration cannot be adapted; None if it can."""
        return None

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        """Lists what the method added or changed, piece by piece.

        The default serves methods that thaw weights of the backbone: one part a layer, whose removal
        puts the pretrained values back.

        Args:
            model: the adapted backbone.
            pretrained: the backbone's weights before training, by parameter name.
        """
        from methods.kit.parts import thawed_parts

        return thawed_parts(model, pretrained)

    def eject(self, model: PreTrainedModel) -> None:  # noqa: B027 - an optional hook
        """Drops what training alone needed. The logits do not change."""

    def merge(self, model: PreTrainedModel) -> str | None:
        """Folds what can be folded into the backbone's own weights. The logits do not change.

        Returns:
            What should have been folded and could not be, and why; None if there is no such thing.
        """
        return None

    def begin(self, classifier: Classifier, labels: Tensor) -> Classifier:
        """Runs once before training; returns the classifier to train, by default the one given.

        Args:
            classifier: backbone and head.
            labels: the training labels: (examples,), integers for classes, floats for regression.
        """
        return classifier

    def idle(
        self, model: PreTrainedModel, pretrained: Mapping[str, Tensor], run: Callable[[], object]
    ) -> dict[str, float]:
        """What of the trained method is known to idle, by name: effective rank, dead units, unmoved biases.

        Args:
            model: the adapted backbone, trained and ejected.
            pretrained: its weights before training; empty for a method that thaws none.
            run: sends rows that were not trained on through the model once.
        """
        return {}

    def penalty(self, model: PreTrainedModel) -> Tensor | None:
        """A scalar added to the training loss after each forward pass; None adds nothing."""
        return None


def shared_names(parts: Sequence[Part]) -> list[str]:
    """The names that more than one of these parts has; none may be."""
    counts = Counter(part.name for part in parts)
    return sorted(name for name, count in counts.items() if count > 1)


def freeze(module: nn.Module) -> None:
    """Makes no parameter of `module` require a gradient."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def hyper_parameters(method: Method) -> dict[str, Any]:
    """The method's fields and values, as they are recorded."""
    from dataclasses import fields

    return {field.name: getattr(method, field.name) for field in fields(method)}
