"""The contract of a fine-tuning method: hyper-parameters as fields, one verb `adapt`, and hooks with defaults."""

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


INSERTED_RATES = (1e-4, 3e-2)
"""Learning rates of AdamW to search for what leaves the weight matrices of the backbone frozen.

With MiniLM-L6 on trec (docs/methods.md) an adapter and UniPELT score higher at 0.001 than at 0.01, LoRA and four
methods of peft at 0.01: both lie well inside. Inserted modules take about 10 times the rate of full fine-tuning
("LoRA Without Regret", Thinking Machines, 2025).
"""

THAWED_RATES = (3e-6, 1e-3)
"""Those for what trains all of it: about as far to either side of the usual 5e-5, and as wide as the other range, two
and a half decades, so that a search lies as densely in both.
"""

HEAD_RATES = (1e-4, 3e-2)
"""Those for a head alone on frozen features."""


class Classifier(nn.Module, ABC):
    """A backbone with a head: from input_ids, attention_mask, ... to logits (batch, outputs).

    Attributes:
        backbone: the base model, which methods adapt.
        outputs: how many logits an example gets.
        padded_left: whether padding may stand before the tokens. Then a model with absolute positions needs
            them counted from the attention mask; without such padding it counts them itself.
        start: the parameters and copies of the buffers that every method starts from, by their names before and
            after the method adapted the model. The harness sets it; what else is in the state dict belongs to the
            method.
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
        """The parameters that the harness trains for every method alike, by name."""

    @abstractmethod
    def forward(self, **batch: Tensor) -> Tensor:
        """Computes logits, (batch, outputs), from what the tokenizer gives."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to fine-tune a pretrained transformer. Its fields are its hyper-parameters, which are recorded.

    A subclass is a frozen dataclass with a `name` and `adapt`; every other hook has a default. The harness freezes
    the backbone before `adapt` and makes the head trainable after it, for every method alike.

    What holds of a method (`thaws`, `starts_as_identity`, `trains_backbone`, `reads_padding`, `draws_again`) is
    declared here as properties. A subclass overrides one by a class variable (`thaws: ClassVar[bool] = True`), or by a
    property where it depends on hyper-parameters.

    Attributes:
        name: what the method is called on the command line.
        paper: where it was published.
        learning_rate: of AdamW, for everything that the method trains in the backbone.
        head_learning_rate: of AdamW, for the head; None takes that of the protocol.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""

    learning_rate: Annotated[float, Gt(0)] = 1e-3
    head_learning_rate: Annotated[float, Gt(0)] | None = None

    @property
    def thaws(self) -> bool:
        """Whether it trains weights of the backbone itself, not only modules that it inserts."""
        return False

    @property
    def starts_as_identity(self) -> bool:
        """Whether the freshly adapted backbone gives the output of the bare one, to the bit."""
        return False

    @property
    def trains_backbone(self) -> bool:
        """Whether it trains something besides the head: weights of the backbone, or modules that it inserts.

        False for a baseline that shows what the head alone (or nothing) reaches.
        """
        return True

    @property
    def reads_padding(self) -> bool:
        """Whether padding changes its output, which no method should want unless this is what is studied."""
        return False

    @property
    def draws_again(self) -> bool:
        """Whether deploying it needs frozen random numbers that are not stored, which a seed has to give again."""
        return False

    @property
    def space(self) -> Mapping[str, Any]:
        """What a search tries: hyper-parameter -> its range or its choices.

        A range is `(low, high)`, uniform on a logarithmic scale, or `(low, high, "linear")`; choices are a list. Empty:
        there is nothing to search. A hyper-parameter that the user sets is left as it is.
        """
        return {"learning_rate": INSERTED_RATES}

    @abstractmethod
    def adapt(self, model: PreTrainedModel) -> None:
        """Inserts modules into, or thaws parameters of, the frozen backbone, in place.

        Whatever requires a gradient afterwards is what the method trains.
        """

    def unsupported(self, config: PretrainedConfig) -> str | None:
        """The reason why a model of this configuration cannot be adapted; None if it can."""
        return None

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        """The pieces of what the method added or changed.

        The default serves methods that thaw weights of the backbone: one part for each layer, whose removal
        puts the pretrained values back.

        Args:
            model: the adapted backbone.
            pretrained: the backbone's weights before training, by parameter name.
        """
        from methods.kit.parts import thawed_parts

        return thawed_parts(model, pretrained)

    def eject(self, model: PreTrainedModel) -> None:  # noqa: B027 - an optional hook
        """Drops what only training needed. The logits do not change."""

    def merge(self, model: PreTrainedModel) -> str | None:
        """Folds what can be folded into the backbone's own weights. The logits do not change.

        Returns:
            What should have been folded and could not be, with the reason; None if there is nothing of this kind.
        """
        return None

    def begin(self, classifier: Classifier, labels: Tensor) -> Classifier:
        """Runs once before training and returns the classifier to train, by default the given one.

        Args:
            classifier: backbone and head.
            labels: the training labels: (examples,), integers for classes, floats for regression.
        """
        return classifier

    def idle(
        self, model: PreTrainedModel, pretrained: Mapping[str, Tensor], run: Callable[[], object]
    ) -> dict[str, float]:
        """Measures how much of the trained method does nothing, by name of the measure.

        Examples are the effective rank of updates, the share of dead units, the share of biases that did not move.

        Args:
            model: the adapted backbone, trained and ejected.
            pretrained: its weights before training, by parameter name; empty for a method that thaws none.
            run: sends rows that were not trained on through the model once.
        """
        return {}

    def penalty(self, model: PreTrainedModel) -> Tensor | None:
        """A scalar that is added to the training loss after each forward pass; None adds nothing."""
        return None


def shared_names(parts: Sequence[Part]) -> list[str]:
    """The names that more than one of these parts has. There must be none, since names tell parts apart."""
    counts = Counter(part.name for part in parts)
    return sorted(name for name, count in counts.items() if count > 1)


def freeze(module: nn.Module) -> None:
    """Makes no parameter of `module` require a gradient."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def hyper_parameters(method: Method) -> dict[str, Any]:
    """The fields of the method with their values, as they are recorded."""
    from dataclasses import fields

    return {field.name: getattr(method, field.name) for field in fields(method)}
