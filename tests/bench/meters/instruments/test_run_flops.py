from collections import Counter
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, LongformerConfig, LongformerModel

from bench.meters.instruments.flop_counter import ShapeCount, Shaped
from bench.meters.instruments.run_flops import extremes, fit, run_flops, token_batch
from tests.bench.meters.instruments.test_flop_counter import summed
from tests.bench.meters.instruments.test_stand_ins import real_bert

shape = st.tuples(st.integers(1, 40), st.integers(1, 200))
coefficients = st.lists(st.integers(0, 10**9), min_size=6, max_size=6)


def of(coefficients):
    def count(shape):
        rows, tokens = shape
        a, b, c, d, e, f = coefficients
        return a + b * tokens + c * tokens**2 + rows * (d + e * tokens + f * tokens**2)

    return count


@given(coefficients, st.dictionaries(shape, st.integers(1, 9), min_size=1, max_size=20))
def test_a_polynomial_is_summed_exactly_from_seven_shapes_at_most(coefficients, batches):
    count, counted = of(coefficients), set()
    found = run_flops(lambda shape: counted.add(shape) or count(shape), batches)
    assert found.flops == sum(number * count(shape) for shape, number in batches.items())
    assert found.examples == sum(number * rows for (rows, _), number in batches.items())
    assert len(counted) <= 7


def test_what_is_no_polynomial_is_counted_shape_by_shape():
    def rounded_up(shape):  # as block-sparse attention
        return shape[0] * -(-shape[1] // 8) * 8

    batches = {(4, length): 2 for length in range(3, 40)}
    found = run_flops(rounded_up, batches)
    assert found.flops == sum(2 * rounded_up(shape) for shape in batches)


def test_no_shape_is_counted_twice():
    asked = Counter()

    def count(shape):
        asked[shape] += 1
        return shape[0] * shape[1]

    run_flops(count, {(2, length): 1 for length in range(1, 30)})
    assert max(asked.values()) == 1


@pytest.mark.parametrize("batches", [{}, {(2, 0): 1}, {(2, 3): 0}])
def test_nothing_to_sum_is_refused(batches):
    with pytest.raises(ValueError, match="need batches"):
        run_flops(of([0] * 6), batches)


def test_the_polynomial_of_a_bert_holds_outside_of_the_counted_shapes():
    with torch.device("meta"):
        config = BertConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=99
        )
        shaped = Shaped(BertModel(config))

    def step(shape):
        return shaped.train_step(token_batch(shape), lambda output: output.pooler_output.sum())

    fitted = fit(step, [(16, 5), (16, 90), (7, 20)])
    assert fitted is not None
    assert len(fitted.counted) == 6
    for shape in [(16, 33), (1, 5)]:
        assert fitted(shape) == step(shape)
    values = [fitted((16, length)) for length in range(5, 91)]
    assert all(before < after for before, after in pairwise(values))


def test_a_token_batch_has_the_shape_on_any_device():
    assert list(token_batch((2, 3), pairs=True)) == ["input_ids", "attention_mask", "token_type_ids"]
    batch = token_batch((2, 3), device="cpu")
    assert batch["attention_mask"].tolist() == [[1, 1, 1]] * 2
    assert token_batch((2, 3))["input_ids"].device.type == "meta"


SMALL_SHAPES = [(1, 4), (2, 8), (3, 12)]


def test_small_shapes_that_really_run_give_what_stand_ins_give_at_any_shape():
    model = real_bert()
    quick, exact = Shaped(model, stand_ins=False), Shaped(model)
    shapes = list(product((1, 5, 8), (7, 33)))
    for count_quick, count_exact in (
        (lambda batch: quick.train_step(batch, summed), lambda batch: exact.train_step(batch, summed)),
        (lambda batch: quick.forward(batch)[0], lambda batch: exact.forward(batch)[0]),
    ):
        ran = Counter()

        def count(shape, ran=ran, counted=count_quick):
            ran[shape] += 1
            return counted(token_batch(shape, device="cpu"))

        by_shape = {shape: count_exact(token_batch(shape, device="cpu")) for shape in shapes}
        for shape in shapes:
            found = run_flops(count, {shape: 3}, counted_on=SMALL_SHAPES)
            assert found.flops == 3 * by_shape[shape]
        whole = run_flops(count, dict.fromkeys(shapes, 2), counted_on=SMALL_SHAPES)
        assert whole.flops == 2 * sum(by_shape.values())
        assert all(rows * tokens <= 4 * 12 for rows, tokens in set(ran) - set(shapes)), "small ones, and the tests"


def test_a_run_that_is_no_polynomial_is_counted_on_its_own_shapes():
    def rounded_up(shape):
        return shape[0] * -(-shape[1] // 8) * 8

    found = run_flops(rounded_up, {(4, 9): 1, (4, 30): 2}, counted_on=SMALL_SHAPES)
    assert found.flops == 4 * (16 + 2 * 32)


WINDOWED_SHAPES = [(8, 40), (8, 128), (8, 256)]


@pytest.mark.parametrize("training", [True, False])
def test_a_model_that_pads_to_a_window_is_counted_on_the_runs_own_shapes(training):
    """Longformer pads to its window: lengths up to 12 all cost the same, so the polynomial is a constant."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = LongformerConfig(attention_window=16, vocab_size=50, max_position_embeddings=300, pad_token_id=1, **sizes)
    model = LongformerModel(config)
    loss_fn = summed if training else None
    really_run = Shaped(model, stand_ins=False)

    def truth(shape):
        batch = token_batch(shape, device="cpu")
        return really_run.train_step(batch, summed) if training else really_run.forward(batch)[0]

    counted = ShapeCount(model, device=torch.device("cpu"), loss_fn=loss_fn)
    assert fit(counted, SMALL_SHAPES) is not None, "between small shapes nothing is amiss"
    for shape in WINDOWED_SHAPES:
        found = run_flops(counted, {shape: 1}, counted_on=SMALL_SHAPES)
        assert found.flops == truth(shape)
    whole = run_flops(counted, dict.fromkeys(WINDOWED_SHAPES, 3), counted_on=SMALL_SHAPES)
    assert whole.flops == 3 * sum(map(truth, WINDOWED_SHAPES))


def test_the_longest_and_the_largest_batch_test_the_polynomial():
    def windowed(shape):  # beyond 64 tokens it costs more than the polynomial says
        rows, length = shape
        return rows * length if length <= 64 else 2 * rows * length

    assert extremes([(64, 10), (3, 70), (8, 70), (64, 9)]) == {(64, 10), (8, 70)}
    batches = {(64, 10): 1, (8, 70): 1, (8, 60): 1}
    found = run_flops(windowed, batches, counted_on=SMALL_SHAPES)
    assert found.flops == sum(map(windowed, batches))


def test_a_miss_within_a_thousandth_keeps_the_polynomial():
    def nearly(shape):
        return shape[0] * shape[1] * 10**6 + (shape == (8, 100)) * 8 * 10**5

    assert run_flops(nearly, {(8, 100): 1}, counted_on=SMALL_SHAPES).flops == 8 * 10**8


def test_a_large_batch_is_counted_without_being_run():
    ran = []
    model = real_bert()
    model.register_forward_pre_hook(
        lambda _, __, kwargs: ran.append(type(kwargs["input_ids"]).__name__), with_kwargs=True
    )
    counted = ShapeCount(model, device=torch.device("cpu"), loss_fn=summed)
    exact = Shaped(real_bert(), stand_ins=False)
    for shape in ((2, 8), (8, 40)):
        assert counted(shape) == exact.train_step(token_batch(shape, device="cpu"), summed)
    assert ran == ["Tensor", "FakeTensor"]
