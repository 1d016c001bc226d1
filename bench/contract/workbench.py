"""The workbench on which a method is checked: it makes the same small classifier again and again, and trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.tasks import Kind, kind_of_outputs
from methods.kit.base import Classifier, Method, freeze

Inputs = dict[str, Tensor]
"""The name of an input of a model -> its tensor, (rows, tokens)."""


@dataclass(frozen=True)
class Workbench:
    """A method and a small model on which it is checked.

    Attributes:
        method: the method to check.
        make: builds the classifier before it is adapted, with the same weights at each call.
        vocabulary: the token ids of the inputs are below this number.
        steps: how many training steps `train` takes.
        classes: the number of classes, and so of outputs.
    """

    method: Method
    make: Callable[[], Classifier]
    vocabulary: int
    steps: int = 4
    classes: int = 3

    @property
    def kind(self) -> Kind:
        """The kind of the task."""
        return kind_of_outputs(self.classes)

    def adapted(self, seed: int = 0) -> Classifier:
        """Makes a classifier and adapts it as a run does; returns it in evaluation mode.

        Args:
            seed: the seed of the initial values of what the method inserts.
        """
        classifier = self.make()
        freeze(classifier)
        torch.manual_seed(seed)
        self.method.adapt(classifier.backbone)
        for parameter in classifier.head_parameters().values():
            parameter.requires_grad_(True)
        classifier.constant = partial(self.kind.constant, outputs=classifier.outputs)
        return self.method.begin(classifier, self.batch()[1]).eval()

    def batch(self, seed: int = 0, *, rows: int = 6, tokens: int = 9) -> tuple[Inputs, Tensor]:
        """Makes random inputs without padding, and labels of every class."""
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(5, self.vocabulary, (rows, tokens), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, self.kind.encode(
            [row % self.classes for row in range(rows)]
        )

    def train(self, classifier: Classifier, seed: int = 0) -> dict[str, bool]:
        """Trains for a few steps.

        Returns:
            Name of each trainable tensor -> whether it got a gradient that is not zero in some step.
        """
        trainable = {name: p for name, p in classifier.named_parameters() if p.requires_grad}
        reached = dict.fromkeys(trainable, False)
        if not trainable:
            return reached
        # A high rate, so that a few steps change the logits; without decay, which moves weights without a gradient.
        optimizer = torch.optim.AdamW(trainable.values(), lr=1e-2, weight_decay=0.0)
        classifier.train()
        for step in range(self.steps):
            batch, labels = self.batch(seed + step)
            torch.manual_seed(seed + step)  # for dropout
            loss = self.kind.loss(classifier(**batch), labels)
            penalty = self.method.penalty(classifier.backbone)
            (loss if penalty is None else loss + penalty).backward()
            for name, parameter in trainable.items():
                reached[name] |= parameter.grad is not None and bool(parameter.grad.any())
            optimizer.step()
            optimizer.zero_grad()
        classifier.eval()
        return reached

    def logits(self, classifier: Classifier, batch: Inputs | None = None) -> Tensor:
        """Computes logits, (rows, outputs), in evaluation mode.

        Args:
            classifier: the classifier.
            batch: the inputs; None: random ones, which training never uses.
        """
        with torch.no_grad():
            logits: Tensor = classifier.eval()(**(self.batch(99)[0] if batch is None else batch))
            return logits.clone()
