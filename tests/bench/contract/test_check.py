"""`bench check` says of each kind of wrong plug-in which promise it breaks, and where to look."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contract.architectures import SMALL_MODELS, check_method, small_config
from bench.contract.contract import CHECKS
from bench.errors import UserError
from bench.registry.methods import resolve_method
from methods.head import Head
from tests.conftest import bench

HEADER = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from torch import nn
from bench import Method

class Added(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.act = act
    def forward(self, hidden):
        return self.act(hidden, self.scale)

def after(model, act):
    model.add_module("added", Added(act))
    model.register_forward_hook(lambda _, __, output: _changed(model, output))

def _changed(model, output):
    output.last_hidden_state = model.added(output.last_hidden_state)
    return output

@dataclass(frozen=True, kw_only=True)
class Wrong(Method):
    name: ClassVar[str] = "wrong"
"""
ADAPT = HEADER + "    def adapt(self, model):\n        "

WRONG_IN_ACTION = {
    "trains the backbone": (
        ADAPT + "model.get_input_embeddings().weight.requires_grad_(True)",
        "only_its_parameters_move: it trains weights of the backbone",
    ),
    "not deterministic": (
        ADAPT + "import os; s = int.from_bytes(os.urandom(4), 'big') / 2**32\n"
        "        after(model, lambda h, scale: h + s * scale * h.square())",
        "same_seed_same_result: the same seed gave two different results",
    ),
    "ignores the padding mask": (
        ADAPT + "after(model, lambda h, scale: h + scale * h.abs().sum(dim=1, keepdim=True))",
        "padding_changes_nothing: padding on the right changed the logits",
    ),
    "fixes the seed": (
        ADAPT + "after(model, lambda h, scale: 0 * scale * h)",
        "seeds_matter",
    ),
    "does not train": (
        ADAPT + "model.add_module('added', nn.Linear(2, 2))",
        "all_of_it_moves: no gradient ever reached backbone.added",
    ),
    "crashes in adapt": (
        ADAPT + "model.no_such_thing",
        "adapt: it cannot be trained: AttributeError: 'BertModel' object has no attribute 'no_such_thing' "
        "(wrong.py, line 28)",
    ),
}  # fmt: skip

WRONG_AT_THE_DOOR = {
    "no adapt": (HEADER, "lacks adapt: write the method"),
    "crashes on import": (
        HEADER + "\n1 / 0",
        r"wrong\.py does not import: ZeroDivisionError: division by zero \(line ",
    ),
    "exits on import": ("raise SystemExit('bye')", r"wrong\.py does not import: SystemExit: bye \(line 1\)"),
    "no Python": ("def x(:", r"wrong\.py does not import: SyntaxError: invalid syntax \(line 1\)"),
    "a constructor that raises": (
        ADAPT.replace("    def adapt", "    def __post_init__(self):\n        raise KeyError('rank')\n    def adapt")
        + "pass",
        r"wrong cannot be made: KeyError: 'rank' \(wrong\.py, line 28\)",
    ),
    "built-in name": (ADAPT.replace('"wrong"', '"lora"') + "pass", "'lora', which is built in"),
    "a variant's name": (ADAPT.replace('"wrong"', '"unipelt-ap"') + "pass", "'unipelt-ap', which is built in"),
    "name with a bracket": (ADAPT.replace('"wrong"', '"wr[ong]"') + "pass", "cannot be written on the command line"),
    "empty name": (ADAPT.replace('"wrong"', '""') + "pass", "cannot be written on the command line"),
    "no Method": ("class Wrong: ...", "no subclass of bench.Method"),
}


def written(tmp_path: Path, source: str) -> str:
    path = tmp_path / "wrong.py"
    path.write_text(source)
    return f"{path}:Wrong"


@pytest.mark.parametrize("kind", WRONG_IN_ACTION)
def test_a_wrong_plug_in_is_told_what_it_breaks(kind: str, tmp_path: Path) -> None:
    source, says = WRONG_IN_ACTION[kind]
    method = resolve_method(written(tmp_path, source)).method
    found = check_method(method, {"bert": SMALL_MODELS["bert"]})
    broken = [f"{finding.check}: {finding.says}" for finding in found if finding.status == "broken"]
    assert any(line.startswith(says) for line in broken), broken


@pytest.mark.parametrize("kind", WRONG_AT_THE_DOOR)
def test_what_is_no_method_does_not_get_in(kind: str, tmp_path: Path) -> None:
    source, says = WRONG_AT_THE_DOOR[kind]
    with pytest.raises(UserError, match=says) as caught:
        resolve_method(written(tmp_path, source))
    assert "\n" not in str(caught.value)


def test_a_refusal_that_raises_breaks_the_method_and_stops_nothing_else(tmp_path: Path) -> None:
    source = ADAPT + "pass\n    def unsupported(self, config):\n        return config.no_such_field"
    resolved = resolve_method(written(tmp_path, source))
    (finding,) = check_method(resolved.method, {"bert": SMALL_MODELS["bert"]})
    assert (finding.check, finding.status) == ("unsupported", "broken")
    assert "has no attribute 'no_such_field' (wrong.py, line 30)" in finding.says
    with pytest.raises(UserError, match=r"wrong: unsupported\(\) raised AttributeError: .* \(wrong\.py, line 30\)"):
        resolved.refusal(small_config("bert"))


def test_a_good_method_keeps_every_promise() -> None:
    findings = list(check_method(Head(), {"bert": SMALL_MODELS["bert"]}))
    assert [finding.check for finding in findings] == [promise.__name__ for promise in CHECKS]
    assert {finding.status for finding in findings} == {"kept"}


def test_a_refusal_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = ADAPT + "pass\n    def unsupported(self, config):\n        return 'only on Mars'"
    arguments = ("check", written(tmp_path, refusing.replace("return", "if config.model_type == 'gpt2': return")))
    assert bench(*arguments, "-a", "distilbert", "-a", "gpt2", monkeypatch=monkeypatch) == 1, "it changes nothing"
    told = capsys.readouterr().out
    assert "refused  gpt2: only on Mars" in told
    assert "tested nowhere" not in told


def test_a_method_that_refuses_every_architecture_is_tested_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = ADAPT + "pass\n    def unsupported(self, config):\n        return 'only on Mars'"
    for method in (written(tmp_path, refusing), "peft:lora[target_modules=nope]"):
        assert bench("check", method, "-a", "bert", "-a", "gpt2", monkeypatch=monkeypatch) == 1
        told = capsys.readouterr().out
        assert "refused  bert" in told
        assert "tested nowhere: it refuses every architecture asked for" in told
        assert "keeps the contract" not in told
    assert bench("check", "head", method, "-a", "bert", monkeypatch=monkeypatch) == 1, "one of two was tested"
    assert "keeps the contract" in capsys.readouterr().out


def test_the_command_ends_in_1_where_a_promise_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _ = WRONG_IN_ACTION["trains the backbone"]
    assert bench("check", written(tmp_path, source), "-a", "bert", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr().out
    assert "broken   bert: only_its_parameters_move: it trains weights of the backbone" in said
    assert "set the class variable `thaws = True`" in said


def test_an_unknown_architecture(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("check", "head", "-a", "bret", monkeypatch=monkeypatch) == 2
    assert "did you mean bert" in capsys.readouterr().err


IDLE = """
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Nothing(Method):
    name: ClassVar[str] = "nothing"
    def adapt(self, model):
        pass

@dataclass(frozen=True, kw_only=True)
class ForBert(Method):
    name: ClassVar[str] = "forbert"
    def adapt(self, model):
        for name, module in list(model.named_modules()):
            if name.endswith("attention.self.query"):
                module.scale = nn.Parameter(module.weight.new_ones(module.out_features))
                module.register_forward_hook(lambda module, _, output: output * module.scale)

@dataclass(frozen=True, kw_only=True)
class Floor(Nothing):
    name: ClassVar[str] = "floor"
    trains_backbone: ClassVar[bool] = False

@dataclass(frozen=True, kw_only=True)
class Liar(ForBert):
    name: ClassVar[str] = "liar"
    trains_backbone: ClassVar[bool] = False
"""


def broken(plugin: Path, cls: str, architecture: str) -> dict[str, str]:
    chosen = {architecture: SMALL_MODELS[architecture]}
    found = check_method(resolve_method(f"{plugin}:{cls}").method, chosen)
    return {finding.check: finding.says for finding in found if finding.status == "broken"}


def test_a_method_that_trains_nothing_is_found_out(tmp_path: Path) -> None:
    plugin = tmp_path / "idle.py"
    plugin.write_text(IDLE)
    for cls, architecture in (("Nothing", "bert"), ("ForBert", "distilbert")):
        (promise, says), *others = broken(plugin, cls, architecture).items()
        assert (promise, others) == ("something_is_trained", [])
        assert "it trains nothing besides the head" in says
    assert broken(plugin, "ForBert", "bert") == {}
    assert broken(plugin, "Floor", "bert") == {}
    assert "the class says `trains_backbone = False`" in broken(plugin, "Liar", "bert")["something_is_trained"]
    assert broken(plugin, "Liar", "distilbert") == {}
