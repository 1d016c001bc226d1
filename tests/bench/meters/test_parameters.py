import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from bench.meters.parameters import count_parameters, safetensors_bytes

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.float16, torch.bfloat16,
    torch.int32, torch.uint32, torch.float32, torch.complex64, torch.float64, torch.int64, torch.uint64,
]  # fmt: skip


def classifier():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    return model


def test_counts_with_the_head_apart():
    model = classifier()
    model[2].bias.requires_grad_(False)
    counts = count_parameters(model, head=model[2].parameters())
    assert counts.trained_parameters == 3 * 3 + 3
    assert counts.head_parameters == 3 * 2 + 2
    assert counts.trained_head_parameters == 3 * 2
    assert counts.backbone_parameters == 4 * 3 + 3 + 3 * 3 + 3


def test_tied_parameters_count_once_and_meta_ones_count():
    model = nn.Sequential(nn.Linear(3, 3, device="meta"), nn.Linear(3, 3, device="meta"))
    model[1].weight = model[0].weight
    assert count_parameters(model).trained_parameters == 9 + 3 + 3


def test_a_head_of_another_model_is_refused():
    with pytest.raises(ValueError, match="not in the model"):
        count_parameters(classifier(), head=nn.Linear(2, 2).parameters())


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
shapes = st.lists(st.integers(0, 5), max_size=3)


@given(st.dictionaries(names, st.tuples(shapes, st.sampled_from(DTYPES)), max_size=6))
def test_bytes_are_those_of_the_file_for_all_dtypes_and_names(specification):
    tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in specification.items()}
    assert safetensors_bytes(tensors) == len(save(tensors))
    note = {"format": "pt", "né": 'quo"te\n'}
    assert safetensors_bytes(tensors, note) == len(save(tensors, note))


def test_bytes_of_a_state_without_values_are_those_of_one_with_values():
    state = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32).state_dict()
    assert safetensors_bytes({k: v.to("meta") for k, v in state.items()}) == len(save(state))


def test_an_unknown_dtype_is_refused_by_name():
    with pytest.raises(ValueError, match="weird"):
        safetensors_bytes({"weird": torch.zeros(2, dtype=torch.complex128)})
