"""The contract, held by every kind; labels are drawn from a kind's examples, so that a new kind needs no line here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bench.records.record import Result
from bench.tasks import Kind, Score, kind_named, kind_of_outputs, kind_of_types, kinds, score_named
from bench.tasks.kinds import Label, Target, shipped_kinds

CLASSES, REGRESSION = kind_named("classes"), kind_named("regression")

every = pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)


def drawn(kind: Kind, data: st.DataObject, *, least: int = 1) -> list[Label]:
    """Labels of rows, of two values at least."""
    labels = data.draw(st.lists(st.sampled_from(kind.examples), min_size=least, max_size=20))
    return read(kind, [*kind.examples, *labels])


def read(kind: Kind, labels: list[Label]) -> list[Label]:
    assert not any(map(kind.refusal, labels))
    return list(map(kind.reader(set(map(type, labels))), labels))


def targets_of(kind: Kind, labels: list[Label]) -> list[Target]:
    return list(map(kind.target(kind.classes(labels)), labels))


def declared(kind: Kind, name: str) -> Score:
    return {score.name: score for score in kind.scores}[name]


def drawn_logits(kind: Kind, labels: list[Label], data: st.DataObject) -> np.ndarray:
    shape = (len(labels), kind.outputs(kind.classes(labels)))
    return data.draw(arrays.arrays(np.float32, shape, elements=st.floats(-50, 50, width=32)))


@every
def test_a_kind_is_found_by_its_name_and_declares_its_scores(kind: Kind) -> None:
    assert kind_named(kind.name) is kind
    assert kind.scores
    assert kind.headline == kind.scores[0].name
    assert len(set(kind.examples)) > 1
    for score in kind.scores:
        assert score_named(score.name) == score, "two kinds that share a score's name declare it alike"
        assert score.low < score.high
        assert score.constant is None or score.low <= score.constant <= score.high
    assert sum(score.share_correct for score in kind.scores) <= 1


@every
@settings(deadline=None, max_examples=30)  # the first call imports
@given(data=st.data())
def test_labels_come_back_from_their_targets(kind: Kind, data: st.DataObject) -> None:
    labels = drawn(kind, data)
    classes = kind.classes(labels)
    names = None if classes is None else list(map(str, classes))
    targets = kind.encode(targets_of(kind, labels))
    assert len(targets) == len(labels)
    back = kind.texts(targets.numpy(), names)
    assert back.dtype.kind == "U"
    assert back.tolist() == list(map(str, labels))
    assert read(kind, labels) == labels, "reading twice changes nothing"
    kind.check(set(labels), {"dev": labels[:3], "test": []})
    assert "\n" not in kind.remark(set(labels))


@every
def test_no_rows_are_encoded_as_rows_are(kind: Kind) -> None:
    targets = targets_of(kind, read(kind, list(kind.examples)))
    assert kind.encode([]).dtype == kind.encode(targets).dtype
    assert len(kind.encode([])) == 0


@every
@settings(deadline=None, max_examples=30)  # the first call imports
@given(data=st.data())
def test_the_loss_is_the_mean_of_the_losses(kind: Kind, data: st.DataObject) -> None:
    labels = drawn(kind, data)
    targets = kind.encode(targets_of(kind, labels))
    logits = torch.from_numpy(drawn_logits(kind, labels, data))
    losses = kind.losses(logits, targets)
    assert losses.shape == (len(labels),)
    assert (losses >= 0).all()
    torch.testing.assert_close(kind.loss(logits, targets), losses.mean(), rtol=1e-5, atol=1e-5)
    assert kind.loss(logits.bfloat16(), targets).dtype == torch.float32


@every
@settings(deadline=None, max_examples=30)  # the first call imports
@given(rows=st.integers(1, 9), tokens=st.integers(1, 9))
def test_made_up_targets_are_learned_from(kind: Kind, rows: int, tokens: int) -> None:
    outputs = kind.outputs(kind.classes(kind.examples))
    targets = kind.made_up((rows, tokens))
    real = kind.encode(targets_of(kind, read(kind, list(kind.examples))))
    assert targets.dtype == real.dtype, "they need the memory of real ones"
    logits = torch.randn(rows, outputs, requires_grad=True)
    kind.loss(logits, targets).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert kind.made_up((rows, tokens), "meta").is_meta


@every
@settings(deadline=None, max_examples=30)  # the first call imports
@given(data=st.data())
def test_scores_lie_within_their_bounds(kind: Kind, data: st.DataObject) -> None:
    labels = drawn(kind, data)
    targets = np.asarray(targets_of(kind, labels))
    logits = drawn_logits(kind, labels, data)
    found = kind.score(targets, logits)
    for name, value in found.items():
        bounds = declared(kind, name)
        assert bounds.low - 1e-9 <= value <= bounds.high + 1e-9
    assert kind.score(targets, kind.predictions(logits)).items() <= found.items() | {("f1", found.get("f1"))}
    correct = kind.correct(logits, targets)
    for score in kind.scores:
        if score.share_correct:
            assert correct is not None
            assert found[score.name] == pytest.approx(correct.mean())


@every
@settings(deadline=None, max_examples=30)  # the first call imports
@given(data=st.data())
def test_right_answers_score_highest(kind: Kind, data: st.DataObject) -> None:
    labels = drawn(kind, data)
    targets = np.asarray(targets_of(kind, labels))
    found = kind.score(targets, targets)
    assert found
    assert all(value == pytest.approx(declared(kind, name).high) for name, value in found.items())


@every
@settings(deadline=None, max_examples=30)  # the first call imports
@given(data=st.data())
def test_the_constant_answer_fits_best(kind: Kind, data: st.DataObject) -> None:
    """No other constant has a lower loss, and the scores that declare a value for a constant have it."""
    labels = drawn(kind, data)
    classes = kind.classes(labels)
    targets = kind.encode(targets_of(kind, labels))
    best = kind.constant(targets, kind.outputs(classes))
    assert best.shape == (kind.outputs(classes),)
    other = torch.from_numpy(data.draw(arrays.arrays(np.float32, best.shape, elements=st.floats(-3, 3, width=32))))
    losses = [kind.loss(logits.expand(len(targets), -1), targets).item() for logits in (best, best + other)]
    assert losses[0] <= losses[1] + 1e-5
    scores = kind.score(targets.numpy(), best.expand(len(targets), -1).numpy())
    for name, value in scores.items():
        constant = declared(kind, name).constant
        assert constant is None or value == constant


@every
@pytest.mark.parametrize(("rows", "value"), [(0, 0.0), (2, 0.0), (3, math.nan), (3, math.inf)])
def test_what_cannot_be_scored_is_refused(kind: Kind, rows: int, value: float) -> None:
    """Three targets against too few rows, or against outputs that are not finite."""
    targets = np.zeros(3 if rows else 0, dtype=np.int64)
    with pytest.raises(ValueError, match=r"scored|finite"):
        kind.score(targets, np.full((rows, kind.outputs(kind.classes(kind.examples))), value))


@given(st.integers(1, 50))
def test_a_width_of_the_head_tells_one_kind(outputs: int) -> None:
    assert kind_of_outputs(outputs) is (REGRESSION if outputs == 1 else CLASSES)


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False)), min_size=1))
def test_types_of_labels_tell_one_kind(labels: list[float]) -> None:
    real = any(isinstance(label, float) for label in labels)
    types = set(map(type, labels))
    assert kind_of_types(types) is (REGRESSION if real else CLASSES)
    assert kind_of_types({str}) is CLASSES
    assert kind_of_types(types, "regression") is REGRESSION


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no kind of task 'regresion'; did you mean regression"):
        kind_named("regresion")
    with pytest.raises(ValueError, match="some labels are numbers and some are strings"):
        kind_of_types({int, str})
    assert score_named("bleu") is None


def test_losses_by_hand() -> None:
    assert REGRESSION.loss(torch.tensor([[2.0], [5.0]]), torch.tensor([1.0, 1.0])).item() == 8.5
    assert CLASSES.loss(torch.zeros(1, 4), torch.tensor([2])).item() == pytest.approx(math.log(4))


@given(st.lists(st.floats(-1e15, 1e15), min_size=2, max_size=9))
def test_numbers_are_learned_as_they_are(labels: list[float]) -> None:
    assume(len(set(labels)) > 1)
    assert targets_of(REGRESSION, read(REGRESSION, list(labels))) == labels


def test_a_kind_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file more in the folder is a kind more, with all that is found by name, labels or scores."""
    (tmp_path / "ranks.py").write_text(
        "from bench.tasks.kinds.kind import Score\nfrom bench.tasks.kinds.regression import Regression\n"
        "class Ranks(Regression):\n    name = 'ranks'\n    scores = (Score('kendall', -1.0, 1.0),)\n"
        "    def claims(self, types): return False\n    def fits(self, outputs): return False\n"
        "KIND = Ranks()\n"
    )
    folder = sys.modules["bench.tasks.kinds"]
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    shipped_kinds.cache_clear()
    kinds.cache_clear()
    try:
        assert sorted(kinds()) == ["classes", "ranks", "regression"]
        assert kind_of_types({float}) is REGRESSION
        assert kind_of_types({float}, "ranks").headline == "kendall"
        assert score_named("kendall") is not None
    finally:
        shipped_kinds.cache_clear()
        kinds.cache_clear()
        sys.modules.pop("bench.tasks.kinds.ranks", None)


def test_records_of_any_kind_load() -> None:
    """Also of a kind that is not there, such as another package's; then the head's width is not known."""
    (path,) = (Path(__file__).parents[2] / "records").glob("schema1-head-*.json")
    data = json.loads(path.read_text("utf-8"))["result"]
    widths = {name: Result.read(data | {"kind": name}).outputs for name in ("classes", "regression", "ranks")}
    assert widths == {"classes": len(data["classes"]), "regression": 1, "ranks": None}
    assert Result.read({**data, "classes": None}).outputs is None


def test_kinds_are_listed_without_torch() -> None:
    code = "import sys, bench.tasks; bench.tasks.kinds(); print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
