"""`verified` errs in at most 5% of runs, says how many rows it needs, and gives no figure on fewer."""

from __future__ import annotations

import numpy as np
import pytest

from bench.parts.measure import measure
from bench.parts.verification import ALPHA, Paired, exact_bound, exact_p, fixed_sequence, rows_needed, sizes
from bench.sources.split import split
from bench.tasks import Row, Rows, kind_named, score
from bench.training.prepared import prepare
from benchmarks.verified import EPSILON, simulate
from tests.conftest import MakeSpec


def test_rows_needed_is_where_no_changed_answer_is_enough() -> None:
    assert rows_needed(0.01) == 299
    assert exact_p(0, 0, 299, 0.01) <= ALPHA < exact_p(0, 0, 298, 0.01)
    assert rows_needed(0.0) is None


@pytest.mark.parametrize("discordant", [0.02, 0.06, 0.3])
@pytest.mark.parametrize("rows", [300, 1000])
def test_the_exact_test_keeps_its_level_at_the_edge(rows: int, discordant: float) -> None:
    generator = np.random.default_rng(1)
    chances = [(discordant + EPSILON) / 2, (discordant - EPSILON) / 2, 1 - discordant]
    drawn = generator.multinomial(rows, chances, size=400)
    wrong = np.mean([exact_p(int(worse), int(better), rows, EPSILON) <= ALPHA for worse, better, _ in drawn])
    assert wrong <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / 400) ** 0.5


def test_the_bound_is_what_the_test_rejects() -> None:
    bound = exact_bound(3, 1, 1000)
    assert -0.02 < bound < -0.002
    assert exact_p(3, 1, 1000, -bound) <= ALPHA < exact_p(3, 1, 1000, -bound - 1e-3)


def test_a_fixed_sequence_stops_at_the_first_that_fails() -> None:
    asked: list[int] = []

    def passes(size: int) -> bool:
        asked.append(size)
        return size != 3

    assert fixed_sequence([1, 2, 3, 4], passes) == 2
    assert asked == [1, 2, 3]
    assert sizes(24) == [4, 8, 12, 16, 20, 24]
    assert sizes(2) == [1, 2]
    assert sizes(0) == []


@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_the_new_rule_errs_rarely_where_the_old_one_does_nearly_always(effect: float) -> None:
    old, *new = simulate(effect, 100, runs=20)
    assert old.wrong > 0.7
    assert [one.verify for one in new] == [300, 1000]
    for one in new:
        assert one.wrong <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / 20) ** 0.5
        assert one.kept > old.kept


def quick_score(headline: str, labels: np.ndarray, given: np.ndarray) -> float:
    """What `tasks.score` gives of two classes, without scikit-learn's checks: thousands are needed here."""
    hits, misses = (labels & given).sum(), (labels & ~given & 1).sum()
    false, rest = ((1 - labels) & given).sum(), ((1 - labels) & (1 - given)).sum()
    if headline == "macro_f1":
        return float(hits / (2 * hits + misses + false) + rest / (2 * rest + misses + false))
    scale = float(hits + false) * float(hits + misses) * float(rest + false) * float(rest + misses)
    return float((float(hits) * float(rest) - float(false) * float(misses)) / scale**0.5)


@pytest.mark.parametrize("headline", ["macro_f1", "matthews"])
def test_the_quick_score_is_the_tasks(headline: str) -> None:
    generator = np.random.default_rng(0)
    labels, given = generator.integers(0, 2, size=(2, 50))
    assert quick_score(headline, labels, given) == pytest.approx(score("classes", labels, given)[headline])


@pytest.mark.parametrize("headline", ["macro_f1", "matthews"])
def test_other_scores_of_classes_keep_the_level(headline: str) -> None:
    """Of 600 rows a tenth are of the rare class, and answers are lost so that the true score falls by epsilon."""
    generator = np.random.default_rng(2)
    epsilon, wrong, runs = 0.03, 0, 30

    def drawn(rows: int, lost: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = (generator.random(rows) < 0.1).astype(int)
        before = np.where(generator.random(rows) < 0.9, labels, 1 - labels)
        after = np.where(generator.random(rows) < lost, 1 - before, before)
        return labels, before, after

    def value(labels: np.ndarray, given: np.ndarray) -> float | None:
        given = given.argmax(axis=1) if given.ndim == 2 else given
        return quick_score(headline, labels, given)

    def fall(lost: float) -> float:
        labels, before, after = drawn(100_000, lost)
        found = value(labels, before), value(labels, after)
        assert found[0] is not None
        assert found[1] is not None
        return found[0] - found[1]

    low, high = 0.0, 0.2
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if fall(middle) < epsilon else (low, middle)
    for _ in range(runs):
        labels, before, after = drawn(600, high)
        paired = Paired(
            correct=kind_named("classes").correct,
            labels=labels,
            before=np.eye(2)[before],
            score=value,
            by_accuracy=False,
        )
        wrong += paired.passes(np.eye(2)[after], epsilon)
    assert wrong / runs <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5


@pytest.mark.parametrize("headline", ["spearman", "pearson"])
def test_scores_of_numbers_keep_the_level(headline: str) -> None:
    generator = np.random.default_rng(3)

    def value(labels: np.ndarray, given: np.ndarray) -> float | None:
        return score("regression", labels, given).get(headline)

    def drawn(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = generator.standard_normal(rows)
        before = labels + 0.7 * generator.standard_normal(rows)
        return labels, before[:, None], (before + 0.4 * generator.standard_normal(rows))[:, None]

    labels, before, after = drawn(200_000)
    scores = value(labels, before), value(labels, after)
    assert scores[0] is not None
    assert scores[1] is not None
    epsilon, wrong, runs = scores[0] - scores[1], 0, 50
    for _ in range(runs):
        labels, before, after = drawn(300)
        paired = Paired(
            correct=kind_named("regression").correct, labels=labels, before=before, score=value, by_accuracy=False
        )
        wrong += paired.passes(after, epsilon)
    assert wrong / runs <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5


def test_spare_rows_are_no_rows_of_the_run_and_change_no_digest() -> None:
    train = [Row(f"text {index % 50}", None, "ab"[index % 2]) for index in range(60)]
    found = split(Rows(train=train, dev=None, test=[Row("text 7", None, "a")]), k=10, dev=5, seed=0)
    used = {(row.text, row.pair) for part in (found.train, found.dev, found.test) for row in part}
    spare = [(row.text, row.pair) for row in found.spare]
    assert spare
    assert not used & set(spare)
    assert len(set(spare)) == len(spare)
    digest = "027c0ff2"  # of the rows of this split before there were spare ones
    assert found.digest.startswith(digest)


def test_own_dev_rows_that_choose_nothing_are_spare_first() -> None:
    train = [Row(f"train {index}", None, "ab"[index % 2]) for index in range(20)]
    dev = [Row(f"dev {index}", None, "ab"[index % 2]) for index in range(8)]
    found = split(Rows(train=train, dev=dev, test=[Row("test", None, "a")]), k=10, dev=5, seed=0)
    assert [row.text.split()[0] for row in found.spare] == ["dev"] * 3 + ["train"] * 10


def test_too_few_rows_give_no_figure_but_the_reason(make_spec: MakeSpec) -> None:
    setting = prepare(make_spec("lora[r=2]"))
    parts = setting.method.parts_of(setting.classifier.backbone, {})
    stored = sum(part.size for part in parts)
    found = measure(setting, stored=stored, epsilon=0.01, verify_rows=100)
    assert found.verified_parameters is None
    assert found.absent["verified_parameters"] == "100 rows are free to verify on; epsilon 0.01 needs 299 or more"
    assert found.contributing_parameters is not None
    none = measure(setting, stored=stored, epsilon=0.0)
    assert "epsilon has to be above 0" in none.absent["verified_parameters"]


def test_without_spare_rows_each_half_of_the_dev_rows_has_one_task(make_spec: MakeSpec) -> None:
    setting = prepare(make_spec("lora[r=2]", k=400, dev=200))
    assert setting.examples.spare == () or len(setting.examples.spare) < 100
    chosen_on, tested_on = setting.verification_rows(1000)
    assert (len(chosen_on), len(tested_on)) == (100, 100)
    rows = [set(part.starts.tolist()) for part in (chosen_on, tested_on)]
    assert not rows[0] & rows[1]
