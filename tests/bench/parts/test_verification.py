"""`verified` errs in at most 5% of runs, says how many rows it needs, and gives no figure on fewer."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from bench.parts import effective, verification
from bench.parts.measure import measure, part_contributions
from bench.parts.verification import ALPHA, changed_share, exact_bound, exact_p, fixed_sequence, rows_needed, sizes
from bench.sources.split import split
from bench.tasks import Row, Rows
from bench.training.prepared import prepare
from benchmarks.verified import EPSILON, OTHERS, simulate, sparse
from tests.conftest import MakeSpec


@pytest.mark.parametrize("module", [effective, verification])
def test_the_examples_run(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


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
    assert sizes(24) == [1, 2, 3, 4, 7, 10, 16, 24]
    assert sizes(128) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert sizes(2) == [1, 2]
    assert sizes(0) == []


@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_the_new_rule_errs_rarely_where_the_old_one_does_nearly_always(effect: float) -> None:
    old, *new = simulate(effect, 100, runs=20, verify=(300, 1000))
    assert old.wrong > 0.7
    assert [one.verify for one in new] == [300, 1000]
    for one in new:
        assert one.wrong <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / 20) ** 0.5
        assert one.kept > old.kept


def test_the_share_that_may_change_grows_with_the_rows() -> None:
    assert changed_share(300, EPSILON) == 0
    for rows in (1000, 5000):
        share = changed_share(rows, EPSILON)
        worse = round(rows * share / 2)
        assert exact_p(worse, worse, rows, EPSILON) <= ALPHA < exact_p(worse + 1, worse + 1, rows, EPSILON)
        assert share == pytest.approx(rows * (EPSILON / 1.645) ** 2, rel=0.15), "the formula of the definition"


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_scores_have_no_bound_that_holds(name: str) -> None:
    """Why they have no figure: a fall that few rows decide is denied far more often than in 5% of draws."""
    assert sparse(name, 300, runs=60).wrong > 0.2


def test_a_score_other_than_accuracy_has_no_figure_but_the_reason(make_spec: MakeSpec) -> None:
    setting = prepare(make_spec("lora[r=2]"))
    stored = sum(part.size for part in setting.method.parts_of(setting.classifier.backbone, {}))
    task = replace(setting.task, headline="matthews")
    found = measure(replace(setting, task=task), stored=stored, epsilon=0.01)
    assert found.verified_parameters is None
    assert "only a fall of accuracy can be tested exactly: matthews" in found.absent["verified_parameters"]
    assert found.contributing_parameters is not None


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


def test_spare_rows_share_no_text_of_a_pair_with_the_run_or_each_other() -> None:
    """Three hypotheses a premise, as in natural language inference; some hypotheses serve two premises."""
    train = [Row(f"premise {n // 3}", f"hypothesis {n % 3} of {n // 6}", "abc"[n % 3]) for n in range(300)]
    found = split(Rows(train=train, dev=None, test=[Row("test", "other", "a")]), k=30, dev=30, seed=0)
    used = {text for part in (found.train, found.dev, found.test) for row in part for text in (row.text, row.pair)}
    spare = [text for row in found.spare for text in (row.text, row.pair)]
    assert spare
    assert not used & set(spare)
    assert len(set(spare)) == len(spare)


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
    assert (len(chosen_on), len(tested_on)) == (100, 68), "32 repeat a text"
    texts = {int(start): row.text for start, row in zip(setting.dev.starts, setting.examples.dev, strict=True)}
    chosen, tested = ([texts[int(start)] for start in part.starts] for part in (chosen_on, tested_on))
    assert len(set(tested)) == len(tested)
    assert not set(tested) & {*chosen, *(row.text for row in setting.examples.train)}


def test_the_half_that_is_tested_has_no_say_in_the_order(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = prepare(make_spec("lora[r=2]", k=400, dev=200))
    parts = setting.method.parts_of(setting.classifier.backbone, {})
    generator = torch.Generator().manual_seed(0)
    for parameter in (one for one in setting.classifier.backbone.parameters() if one.requires_grad):
        parameter.data.normal_(generator=generator)
    given: list[Sequence[float]] = []
    greedy = effective.greedy_removal

    def watched(parts: Any, contribution: Sequence[float], **rest: Any) -> Any:
        given.append(contribution)
        return greedy(parts, contribution, **rest)

    monkeypatch.setattr(effective, "greedy_removal", watched)
    found = measure(setting, stored=sum(part.size for part in parts), epsilon=0.05)
    chosen_on, _ = setting.verification_rows(1000)
    assert len(chosen_on) == 100
    own = part_contributions(setting, parts, chosen_on).mean(axis=0)
    assert given == [pytest.approx(own.tolist(), rel=1e-5)]
    assert np.ptp(own) > 0
    assert found.verified_on == "half of dev"
