"""peft's configurations as methods: they keep the contract, and its LoRA agrees with ours."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

from bench.contract.architectures import SMALL_MODELS, check_method, small_config, workbench
from bench.costs.inspect import config_of, inspect
from bench.errors import UserError
from bench.records.spec import Measures, RunSpec
from bench.registry.methods import method_of, resolve_method
from bench.run import execute
from methods.kit import peft_bridge
from methods.kit.peft_types import kinds, types_of
from tests.conftest import MakeSpec

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft's

METHODS = [
    "peft:lora[r=2,bias=all]",
    "peft:ia3",
    "peft:vera[r=4]",
    "peft:oft[oft_block_size=4]",
    "peft:loha[r=2]",
    "peft:lokr[r=2]",
    "peft:ln_tuning",
    "peft:hra[r=2]",
]


@pytest.mark.parametrize("text", METHODS)
def test_the_contract_on_bert(text: str) -> None:
    findings = list(check_method(resolve_method(text).method, {"bert": SMALL_MODELS["bert"]}))
    assert [f"{finding.check}: {finding.says}" for finding in findings if finding.status != "kept"] == []
    assert len(findings) > 5


@pytest.mark.parametrize("text", ["peft:lora", "peft:ia3", "peft:vera"])
@pytest.mark.parametrize("architecture", [name for name in SMALL_MODELS if name != "bert"])
def test_the_contract_elsewhere(text: str, architecture: str) -> None:
    findings = list(check_method(resolve_method(text).method, {architecture: SMALL_MODELS[architecture]}))
    assert [f"{finding.check}: {finding.says}" for finding in findings if finding.status == "broken"] == []


def test_lora_of_peft_agrees_with_ours() -> None:
    methods = [resolve_method("peft:lora[r=8,lora_alpha=16]"), resolve_method("lora[r=8,alpha=16]")]
    theirs, ours = inspect(methods, "bert-base-shape", head="mean", outputs=2, batch=2, tokens=16)
    assert theirs.trained_parameters == ours.trained_parameters == 294_912
    assert theirs.stored_parameters == ours.stored_parameters == 294_912
    assert theirs.backbone_parameters == ours.backbone_parameters
    assert theirs.forward_flops == ours.forward_flops
    assert theirs.train_step_flops == ours.train_step_flops


def test_lora_of_peft_scores_as_ours_within_noise(make_spec: MakeSpec) -> None:
    floor, ours, theirs = (
        np.array([_score(make_spec(text, k=48, seed=seed, epochs=6)) for seed in range(4)])
        for text in ("head", "lora[learning_rate=0.01]", "peft:lora[lora_alpha=16,learning_rate=0.01]")
    )
    assert not np.array_equal(ours, floor)
    assert not np.array_equal(theirs, floor)
    # Rows and head are the same at a seed; only the random half of LoRA's start differs.
    assert np.abs(ours - theirs).mean() < ours.std(ddof=1) / 2


def _score(spec: RunSpec) -> float:
    result = execute(spec, measures=Measures(costs=False, energy=False, effective=False)).record.result
    assert result is not None
    return result.test_scores["accuracy"]


def test_parts_of_lora_are_ours() -> None:
    names = []
    for text in ("peft:lora[r=2]", "lora[r=2]"):
        bench = workbench(resolve_method(text).method, "bert")
        names.append([(p.name, p.size) for p in bench.method.parts_of(bench.adapted().backbone, {})])
    assert names[0] == names[1]
    assert len(names[0]) == 4


def test_biases_are_parts_too() -> None:
    method = resolve_method("peft:lora[r=2,bias=all]").method
    assert method.thaws
    bench = workbench(method, "bert")
    classifier = bench.adapted()
    parts = method.parts_of(classifier.backbone, bench.make().backbone.state_dict())
    stored = sum(p.numel() for p in classifier.backbone.parameters() if p.requires_grad)
    assert {part.kind for part in parts} == {"lora", "bias"}
    assert sum(part.size for part in parts) == stored


def test_what_is_shared_between_layers_is_no_part() -> None:
    bench = workbench(resolve_method("peft:vblora[vector_length=4,num_vectors=16]").method, "bert")
    model = bench.adapted().backbone
    held = {id(p) for part in bench.method.parts_of(model, {}) for p in part.parameters}
    bank = [p for name, p in model.named_parameters() if "vector_bank" in name]
    assert len(bank) == 1
    assert id(bank[0]) not in held


def test_merging_leaves_no_layer_of_peft() -> None:
    bench = workbench(resolve_method("peft:lora[r=2]").method, "bert")
    model = bench.adapted().backbone
    assert len(list(peft_bridge.tuner_layers(model))) == 4
    bench.method.merge(model)
    assert not list(peft_bridge.tuner_layers(model))


def test_a_layer_that_peft_cannot_merge_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = workbench(resolve_method("peft:lily[r=2]").method, "bert")
    model = bench.adapted().backbone
    before = len(list(peft_bridge.tuner_layers(model)))
    says = bench.method.merge(model)
    assert says is not None
    assert f"peft cannot merge encoder.layer.0.attention.self.query and {before - 1} more layers of peft:lily" in says
    assert len(list(peft_bridge.tuner_layers(model))) == before
    monkeypatch.setattr(peft.tuners.lora.Linear, "merge", _cannot)
    half = workbench(resolve_method("peft:lora[r=2]").method, "bert")
    says = half.method.merge(half.adapted().backbone)
    assert says is not None
    assert says.endswith("of peft:lora: not this one")


def _cannot(layer: object, **_: object) -> None:
    raise ValueError("not this one\nand a second line")


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # frod's
@pytest.mark.parametrize("kind", ["loha", "lokr", "frod", "shira", "adamss", "waveft", "glora"])
def test_what_looks_at_values_is_counted_by_running_it(kind: str) -> None:
    settings = {"shira": "[r=2]", "waveft": "[n_frequency=8]"}.get(kind, "")
    (row,) = inspect([resolve_method(f"peft:{kind}{settings}")], "tiny", head="mean", outputs=2, batch=2, tokens=8)
    assert row.trained_parameters
    assert (row.stored_parameters > row.trained_parameters) is (kind in {"adamss", "shira"}), "tables are kept, too"
    assert row.stored_bytes
    if kind in ("glora", "shira"):  # counters cannot follow their backward pass
        assert row.train_step_flops is None
        assert row.reason is not None
        assert row.reason.startswith("FLOPs: ")
    else:
        assert row.train_step_flops is not None
        assert row.forward_flops is not None
        assert row.train_step_flops > row.forward_flops


def test_flops_of_loha_are_what_a_hand_counts() -> None:
    """Each adapted projection adds B A twice, (d x r)(r x d), and a second product of its input."""
    loha, head = inspect(
        [resolve_method("peft:loha[r=4]"), resolve_method("head")], "tiny", head="mean", outputs=2, batch=2, tokens=8
    )
    config, _ = config_of("tiny")
    width, layers = config.hidden_size, config.num_hidden_layers
    products = 2 * 2 * width * width * 4 + 2 * (2 * 8) * width * width
    assert loha.forward_flops - head.forward_flops == layers * 2 * products


def test_hyper_parameters_are_set() -> None:
    text = "peft:lora[r=4,lora_alpha=2,target_modules=query+key+value,layers_to_transform=0+1]"
    found = resolve_method(text)
    assert found.spec.label == "peft:lora[r=4,target_modules=query+key+value,lora_alpha=2,layers_to_transform=0+1]"
    assert found.spec.source == f"peft=={peft.__version__}"
    assert resolve_method(found.spec.label).method == found.method == method_of(found.spec)
    method: Any = found.method
    assert method.config().target_modules == {"query", "key", "value"}
    with pytest.raises(UserError, match=r"peft:lora has no hyper-parameter 'rank'"):
        resolve_method("peft:lora[rank=4]")
    with pytest.raises(UserError, match=r"peft:lora\[r=many\]"):
        resolve_method("peft:lora[r=many]")


def test_a_saved_configuration(tmp_path: Path) -> None:
    config = peft.LoraConfig(
        r=4, lora_alpha=2, target_modules=["value", "query"], rank_pattern={"query": 2, "value": 3}
    )
    config.save_pretrained(tmp_path)
    for name in (tmp_path, tmp_path / "adapter_config.json"):
        found = resolve_method(f"{name}[lora_dropout=0.1]")
        method: Any = found.method
        assert found.spec.name == "peft:lora"
        assert (method.r, method.lora_alpha, method.lora_dropout) == (4, 2, 0.1)
        assert method.config().target_modules == {"query", "value"}
        assert method.config().rank_pattern == {"query": 2, "value": 3}
        assert resolve_method(found.spec.label).method == method
        json.dumps(found.spec.model_dump())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("peft:loraa", "peft has no such type; did you mean lora"),
        ("peft:prefix_tuning", "cannot be injected: it is prompt learning"),
        ("peft:p_tuning", "cannot be injected: it is prompt learning"),
        ("peft:xlora", "cannot be injected: it mixes adapters"),
        ("peft:adalora", "after each optimizer step"),
        ("peft:lora[init_lora_weights=pissa]", "needs data or changes the frozen weights"),
        ("peft:lora[modules_to_save=pooler]", "the head is trained for every method alike"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        resolve_method(text)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_the_model_is_refused_before_a_run() -> None:
    reason = resolve_method("peft:c3a[block_size=256]").method.unsupported(small_config("bert"))
    assert reason is not None
    assert "block size should be a factor of the input size" in reason
    reason = resolve_method("peft:lora[target_modules=nothing]").method.unsupported(small_config("bert"))
    assert reason is not None
    assert "nothing" in reason


@pytest.mark.parametrize(
    ("text", "architecture", "says"),
    [
        ("peft:trainable_tokens", "bert", "peft:trainable_tokens trains nothing as it is configured"),
        ("peft:loha", "gpt2", "Conv1D'> not supported"),  # peft says so by a TypeError
        ("peft:lily", "gpt2", "Lily does not support target modules"),  # by a NotImplementedError
        (
            "peft:ia3",
            "gpt2",
            "for gpt2; set target_modules=... (its layers have ln_1, c_attn, c_proj, ln_2, c_fc)",
        ),
    ],
)
def test_a_refusal_of_peft_is_ours(text: str, architecture: str, says: str) -> None:
    reason = resolve_method(text).method.unsupported(small_config(architecture))
    assert reason is not None
    assert says in reason
    assert "\n" not in reason


def test_tokens_are_trained_where_they_are_named() -> None:
    text = "peft:trainable_tokens[token_indices=7+9]"
    findings = list(check_method(resolve_method(text).method, {"bert": SMALL_MODELS["bert"]}))
    assert [finding.check for finding in findings if finding.status != "kept"] == []
    assert len(findings) > 1, "refused: nothing was checked"


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_text("{}")
    with pytest.raises(UserError, match=r"adapter_config\.json is no configuration of peft: KeyError"):
        resolve_method(str(tmp_path))
    path.write_text(json.dumps({"peft_type": "LORA", "eva_config": {"rho": 3.0}}))
    with pytest.raises(UserError, match="eva_config cannot be set through tunebench"):
        resolve_method(str(path))


def test_without_peft_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("peft"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    types_of.cache_clear()
    peft_bridge.method_class.cache_clear()
    assert kinds() == []
    with pytest.raises(UserError, match=r"needs the package peft: pip install 'tunebench\[peft\]'"):
        resolve_method("peft:lora")


def test_the_classifier_is_the_same_object() -> None:
    bench = workbench(resolve_method("peft:lora").method, "bert")
    classifier = bench.make()
    backbone = classifier.backbone
    with torch.device("cpu"):
        bench.method.adapt(backbone)
    assert classifier.backbone is backbone
