"""A kind of task that breaks its promises is told which; the shipped ones keep them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.contract.kinds import check_kind
from bench.tasks import Kind, Score, kinds
from bench.tasks.kinds.regression import Regression


@pytest.mark.parametrize("name", kinds())
def test_a_shipped_kind_keeps_its_promises(name: str) -> None:
    assert check_kind(name) == []


class Wrong(Regression):
    name = "wrong"

    def texts(self, targets, names):
        return targets.astype(int).astype(str)

    def made_up(self, shape, device=None):
        return torch.zeros(shape[0], dtype=torch.int64)

    def losses(self, logits, targets):
        return 2 * super().losses(logits, targets)

    def constant(self, targets, outputs):
        return targets.max().view(1)

    def score(self, targets, outputs):
        return {"pearson": 1.5, "luck": float(np.size(outputs))}


def test_every_broken_promise_is_named() -> None:
    lines = "\n".join(check_kind(Wrong()))
    for line in (
        "labels_come_back: texts() gives",
        "targets_have_one_type: made_up((3, 5)) gives torch.int64",
        "targets_have_one_type: made_up() ignores its device",
        "the_loss_can_be_trained: loss() is ",
        "the_constant_fits_best: constant() gives [3.0], but",
        "scores_are_as_declared: pearson is 1.5, outside of its bounds",
        "scores_are_as_declared: score() gives luck, which scores does not declare",
        "scores_are_as_declared: score() accepts no examples",
    ):
        assert line in lines


def test_wrong_declarations_are_named_before_anything_runs() -> None:
    class Undeclared(Regression):
        name = "two words"
        scores = (Score("accuracy", 1.0, 0.0),)
        examples = (1.0, 1.0)

    assert [line.partition(":")[0] for line in check_kind(Undeclared())] == ["name", "scores", "scores", "examples"]


def test_what_an_author_raises_is_a_line() -> None:
    class Raising(Regression):
        def encode(self, targets):
            raise KeyError("rank")

    lines = check_kind(Raising())
    assert isinstance(Raising(), Kind)
    assert "labels_come_back: it raised KeyError: 'rank' (test_kinds.py, line" in lines[0]
