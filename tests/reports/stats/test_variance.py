"""Variance shares of gate values: planted truths land in the right place, at every seed count honestly."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from reports.stats.gate_values import GateValues
from reports.stats.variance import Decomposition, Share, decompose

SHAPE = (3, 500, 6, 4)  # seeds, examples, layers, parts: of each of two tasks


def planted(
    make: Callable[[int, np.ndarray, np.random.Generator], np.ndarray], *, shape: tuple[int, ...] = SHAPE
) -> GateValues:
    """Two tasks, the second with longer examples; `make` gets a task's number and its examples' lengths."""
    generator = np.random.default_rng(0)
    short = 5 + generator.binomial(50, 0.2, size=shape[1])
    long = 5 + generator.binomial(50, 0.45, size=shape[1])
    swapped = generator.random(shape[1]) < 0.15  # so that the ranges overlap
    lengths = (np.where(swapped, long, short), np.where(swapped, short, long))
    values = tuple(
        make(task, length[None, :, None, None], generator) + 0.02 * generator.normal(size=shape)
        for task, length in enumerate(lengths)
    )
    return GateValues(tasks=("short", "long"), values=values, lengths=lengths)


def found(gates: GateValues, draws: int = 40) -> tuple[Decomposition, dict[str, Share], dict[str, Share]]:
    result = decompose(gates, generator=np.random.default_rng(1), draws=draws)
    assert result.length_held is not None
    raw, held = ({share.term: share for share in shares} for shares in (result.raw, result.length_held))
    assert sum(share.share for share in raw.values()) == pytest.approx(1)
    assert sum(share.share for share in held.values()) == pytest.approx(1)
    return result, raw, held


def test_task_alone() -> None:
    _, raw, held = found(planted(lambda task, _length, _rng: np.array(0.3 + 0.4 * task)))
    assert raw["task"].share > 0.95
    assert held["task"].share > 0.95  # though the tasks' lengths differ


def test_example_alone() -> None:
    _, raw, held = found(planted(lambda _task, _length, rng: 0.2 * rng.normal(size=(1, SHAPE[1], 1, 1))))
    assert raw["example"].share > 0.95
    assert held["example"].share > 0.95


def test_length_alone_is_all_gone_when_held() -> None:
    # The released code's confound: a mean over 128 positions of which length are real (unipelt.md, 2.1).
    result, raw, held = found(planted(lambda _task, length, _rng: np.tanh(length / 32)))
    assert result.length_overlap is not None
    assert result.length_overlap > 0.9
    assert raw["task"].share > 0.2  # it looks like an effect of the task,
    assert raw["example"].share > 0.3  # and like one of the example
    assert held["length"].share > 0.95
    assert max(share.share for term, share in held.items() if term not in {"length", "seed:example"}) < 0.01


def test_layer_part_and_seed_alone() -> None:
    layers = np.linspace(0, 1, 6)[:, None]
    parts = np.linspace(0, 1, 4)[None, :]
    assert found(planted(lambda _task, _length, _rng: layers + 0 * parts))[1]["layer"].share > 0.95
    assert found(planted(lambda _task, _length, _rng: parts + 0 * layers))[1]["part"].share > 0.95
    both = found(planted(lambda _task, _length, _rng: (layers - 0.5) * (parts - 0.5)))[1]
    assert both["layer:part"].share > 0.95
    gate = found(planted(lambda task, _length, _rng: (layers - 0.5) * (parts - 0.5) * (2 * task - 1)))[1]
    assert gate["task:layer:part"].share > 0.95
    each = found(planted(lambda _task, _length, rng: rng.normal(size=(3, 1, 6, 4)), shape=SHAPE))[1]
    assert each["seed"].share + each["seed:gate"].share > 0.8  # the rest looks like the gates themselves


def test_seeds_do_not_pass_for_the_task() -> None:
    # Runs differ, tasks do not: plain sums of squares give the task a fifth of it (1 degree in 5).
    shares, plain = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        values = tuple(rng.normal(size=(3, 1, 1, 1)) + 0.1 * rng.normal(size=(3, 20, 2, 2)) for _ in range(2))
        gates = GateValues(tasks=("a", "b"), values=values, lengths=None)
        raw = {share.term: share for share in decompose(gates, generator=rng, draws=40).raw}
        interval = raw["task"].interval
        assert interval is not None
        shares.append(interval.low <= 0.0)
        plain.append(raw["task"].sum_of_squares)
    assert np.mean(plain) > 0.15
    assert np.mean(shares) >= 0.85  # the interval holds the true share, 0


def test_intervals_cover_planted_components() -> None:
    # Setting: 2 tasks by 3 seeds by 40 examples by 3 layers by 2 parts; task, example and layer effects
    # fixed, seeds, seeds by gate and the rest normal; 80 experiments (error 2.5%).
    rng = np.random.default_rng(3)
    layer = np.array([-0.5, 0, 0.5])[:, None] * np.ones((3, 2))
    examples = [(e - e.mean()) / e.std() * 0.6 for e in rng.normal(size=(2, 40))]
    truth = {
        "task": 1.0,
        "layer": layer.var(),
        "example": 0.36,
        "seed": 0.49 + 0.25 / 6,
        "seed:example": 0.25,
    }
    total = sum(truth.values()) + 0.25 * 5 / 6
    hits = dict.fromkeys(truth, 0)
    for _ in range(80):
        values = tuple(
            (2 * task - 1)
            + layer
            + examples[task][None, :, None, None]
            + 0.7 * rng.normal(size=(3, 1, 1, 1))
            + 0.5 * rng.normal(size=(3, 1, 3, 2))
            + 0.5 * rng.normal(size=(3, 40, 3, 2))
            for task in range(2)
        )
        result = decompose(GateValues(tasks=("a", "b"), values=values, lengths=None), generator=rng, draws=40)
        for share in result.raw:
            if share.term in truth:
                assert share.interval is not None
                hits[share.term] += share.interval.low <= truth[share.term] / total <= share.interval.high
    assert all(count / 80 >= 0.88 for term, count in hits.items() if term != "seed"), hits
    assert hits["seed"] / 80 >= 0.8, hits


def test_one_seed_has_shares_but_no_interval() -> None:
    _, raw, held = found(planted(lambda task, _length, _rng: np.array(0.4 * task), shape=(1, 100, 2, 2)))
    assert raw["task"].share > 0.9
    assert all(share.interval is None for share in (*raw.values(), *held.values()))
    assert not any(term.startswith("seed") for term in raw)


def test_refusals() -> None:
    rng = np.random.default_rng(0)
    uneven = (rng.normal(size=(1, 4, 2, 2)), rng.normal(size=(3, 4, 2, 2)))
    with pytest.raises(ValueError, match="a: one seed where others have more"):
        decompose(GateValues(tasks=("a", "b"), values=uneven, lengths=None), generator=rng)
    with pytest.raises(ValueError, match="all equal"):
        decompose(GateValues(tasks=("a",), values=(np.ones((2, 4, 2, 2)),), lengths=None), generator=rng)


def test_the_generator_decides_and_a_study_takes_seconds() -> None:
    gates = planted(lambda task, length, rng: task + length / 9 + rng.normal(size=(3, 1, 1, 1)))
    begin = time.perf_counter()
    first = decompose(gates, generator=np.random.default_rng(5), draws=200)
    assert time.perf_counter() - begin < 10  # 1.5 s alone on one thread
    assert decompose(gates, generator=np.random.default_rng(5), draws=200) == first
