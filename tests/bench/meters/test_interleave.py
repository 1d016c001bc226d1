import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.meters.interleave import StepError, interleave, ratios


class Steps:
    """Steps of given seconds on a fake clock, which note their turns."""

    def __init__(self, **seconds):
        self.now_s = 0.0
        self.turns = []
        self.steps = {name: self._step(name, value) for name, value in seconds.items()}

    def _step(self, name, value):
        def step():
            self.now_s += value
            self.turns.append(name)

        return step

    def now(self):
        return self.now_s


def test_every_step_takes_one_turn_a_round_in_orders_that_differ_and_follow_the_seed():
    runs = []
    for seed in (1, 1, 2):
        steps = Steps(a=1.0, b=2.0, c=4.0)
        seconds = interleave(steps.steps, rounds=20, seed=seed, now=steps.now)
        assert seconds.shape == (20, 3)
        assert (seconds == [1.0, 2.0, 4.0]).all()
        assert len(steps.turns) == 3 * (20 + 3)
        turns = [tuple(steps.turns[i : i + 3]) for i in range(0, len(steps.turns), 3)]
        assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
        assert len(set(turns)) > 3
        runs.append(turns)
    assert runs[0] == runs[1] != runs[2]


def test_the_device_is_waited_for_inside_the_time_and_before_it():
    steps = Steps(a=1.0)

    def synchronize():
        steps.now_s += 0.25

    seconds = interleave(steps.steps, rounds=2, seed=0, now=steps.now, synchronize=synchronize)
    assert (seconds == 1.25).all()


def test_a_step_that_raises_is_named_and_the_complete_rounds_are_kept():
    steps = Steps(a=1.0)
    calls = []

    def fail():
        calls.append(1)
        if len(calls) > 5:
            raise ValueError("out of memory")

    with pytest.raises(StepError, match="b failed after 2 complete rounds") as caught:
        interleave(steps.steps | {"b": fail}, rounds=9, seed=0, now=steps.now)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.seconds.shape == (2, 2)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"rounds": 5, "warm_ups": 2}])
def test_too_little_is_refused(wrong):
    with pytest.raises(ValueError, match="warm-ups"):
        interleave({"a": print}, seed=0, **wrong)


def test_ratios_by_hand():
    seconds = np.array([[2.0, 1.0], [4.0, 2.0], [2.0, 1.5], [8.0, 4.0]])
    found = ratios(seconds, ["full", "lora"], baseline="full", generator=np.random.default_rng(0))
    assert found["full"].ratio == found["full"].low == found["full"].high == 1
    assert found["lora"].ratio == 0.5  # of .5 .5 .75 .5
    assert 0.5 == found["lora"].low < found["lora"].high <= 0.75
    assert found["full"].p50_ms == 3000
    assert found["lora"].rounds == 4
    assert found["lora"].wide  # too few rounds


def test_a_per_round_ratio_is_immune_to_a_machine_that_slows_down():
    drift = np.linspace(1, 5, 40)[:, None]
    seconds = drift * np.array([[1.0, 0.8]])
    found = ratios(seconds, ["full", "lora"], baseline="full", generator=np.random.default_rng(0))["lora"]
    assert found.ratio == pytest.approx(0.8)
    assert found.high - found.low < 1e-9
    assert not found.wide


def test_a_wide_interval_is_flagged():
    generator = np.random.default_rng(0)
    seconds = np.exp(generator.normal(size=(30, 2)))
    assert ratios(seconds, ["a", "b"], baseline="a", generator=generator)["b"].wide


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(100):
        seconds = np.exp(0.05 * generator.normal(size=(30, 2)))
        found = ratios(seconds, ["a", "b"], baseline="a", generator=generator, resamples=400)["b"]
        covered += found.low <= 1 <= found.high
    assert 88 <= covered <= 100


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_ratios_are_ordered_reproducible_and_free_of_the_unit(rounds, columns, seed):
    seconds = np.random.default_rng(seed).uniform(0.1, 10, size=(rounds, columns))
    names = [str(column) for column in range(columns)]

    def found(scale):
        generator = np.random.default_rng(seed)
        return ratios(scale * seconds, names, baseline="0", generator=generator, resamples=50)

    for name, ratio in found(1.0).items():
        assert ratio.low <= ratio.high
        assert seconds.min() / seconds.max() <= ratio.ratio <= seconds.max() / seconds.min()
        assert found(4.0)[name].ratio == pytest.approx(ratio.ratio)
    assert found(1.0) == found(1.0)


@pytest.mark.parametrize(
    ("seconds", "names", "line"),
    [
        ([[1.0]], ["a", "b"], "want"),
        ([[1.0]], ["b"], "baseline"),
        ([[np.nan]], ["a"], "positive"),
        ([[0.0]], ["a"], "positive"),
    ],
)
def test_what_makes_no_ratio_is_refused(seconds, names, line):
    with pytest.raises(ValueError, match=line):
        ratios(np.array(seconds), names, baseline="a", generator=np.random.default_rng(0))
