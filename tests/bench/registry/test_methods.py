from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.registry import plugins
from bench.registry.methods import method_of, parse, resolve_method
from methods.lora import LoRA
from methods.unipelt import UniPELT

PLUGIN = """
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal
from annotated_types import Gt
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Mine(Method):
    name: ClassVar[str] = "mine"
    width: Annotated[int, Gt(0)] = 4
    sites: tuple[str, ...] = ("query",)
    mode: Literal["a", "none"] = "a"
    share: float | None = 0.5
    exact: bool = False

    def adapt(self, model):
        pass

class NoMethod: ...

class NoDataclass(Method):
    name = "nodataclass"
    def adapt(self, model): ...

@dataclass(frozen=True, kw_only=True)
class Thief(Mine):
    name: ClassVar[str] = "lora"

@dataclass(frozen=True, kw_only=True)
class Abstract(Method):
    name: ClassVar[str] = "abstract"

@dataclass(frozen=True, kw_only=True)
class Nameless(Method):
    def adapt(self, model): ...
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return str(path)


def test_hyper_parameters_are_set_and_typed() -> None:
    found = resolve_method("lora[r=16,alpha=32]")
    assert found.method == LoRA(r=16, alpha=32.0)
    assert found.spec.name == "lora"
    assert found.spec.source == "built-in"
    assert found.spec.fields["r"] == 16


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ("lora", "lora"),
        ("lora[]", "lora"),
        ("lora[r=8]", "lora"),
        (" lora[ alpha = 32 , r=16 ]", "lora[r=16,alpha=32.0]"),
        ("lora[learning_rate=5e-4]", "lora[learning_rate=0.0005]"),
        ("full[head_learning_rate=none]", "full[head_learning_rate=none]"),
        ("unipelt-ap", "unipelt-ap"),
        ("unipelt[parts=AP]", "unipelt-ap"),
        ("unipelt-apl", "unipelt"),
        ("unipelt-ap[r=4]", "unipelt-ap[r=4]"),
        ("unipelt-ap[parts=P]", "unipelt[parts=P]"),
        ("unipelt[gate=none]", "unipelt[gate=none]"),
        ("unipelt[lora_gates=2]", "unipelt[lora_gates=2]"),
    ],
)
def test_the_canonical_spelling(asked: str, label: str) -> None:
    assert resolve_method(asked).spec.label == label
    assert resolve_method(label).method == resolve_method(asked).method


@given(
    r=st.integers(1, 512),
    alpha=st.floats(1e-6, 1e6),
    dropout=st.floats(0, 0.99),
    targets=st.lists(st.sampled_from(["q", "k", "v", "o", "ffn"]), min_size=1, unique=True),
    rate=st.none() | st.floats(1e-9, 1.0),
)
def test_every_method_is_read_back_from_its_label(
    r: int, alpha: float, dropout: float, targets: list[str], rate: float | None
) -> None:
    method = LoRA(r=r, alpha=alpha, dropout=dropout, targets="+".join(targets), head_learning_rate=rate)
    fields = {
        "r": r,
        "alpha": alpha,
        "dropout": dropout,
        "targets": method.targets,
        "head_learning_rate": rate,
    }
    text = ",".join(f"{name}={'none' if value is None else value}" for name, value in fields.items())
    found = resolve_method(f"lora[{text}]")
    assert found.method == method
    assert resolve_method(found.spec.label).method == method
    assert method_of(found.spec) == method


def test_a_preset_sets_what_the_user_leaves_open() -> None:
    preset = {"unipelt": {"learning_rate": 5e-4}}
    found = resolve_method("unipelt-ap", preset=preset)
    assert found.method == UniPELT(parts="AP", learning_rate=5e-4)
    assert found.spec.label == "unipelt-ap"
    own = resolve_method("unipelt-ap[learning_rate=1e-3]", preset=preset)
    assert own.method == UniPELT(parts="AP", learning_rate=1e-3)
    assert own.spec.label == "unipelt-ap[learning_rate=0.001]"
    assert found.spec.fields["learning_rate"] == 5e-4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("lroa", "unknown method 'lroa'; did you mean lora?"),
        ("nothing like it", "bench list methods"),
        ("lora[rank=8]", "lora has no hyper-parameter 'rank'.*it has learning_rate, head_learning_rate, r,"),
        ("lora[r=0]", r"lora\[r=0\]: input should be greater than 0"),
        ("lora[r=eight]", r"lora\[r=eight\]: input should be a valid integer"),
        ("lora[r=none]", r"lora\[r=none\]"),
        ("lora[dropout=nan]", r"lora\[dropout=nan\]"),
        ("lora[targets=q+x]", "lora: targets: 'x' is none of q, k, v, o, ffn"),
        ("unipelt[prefix_gate=soft]", "input should be 'scale' or 'log'"),
        ("lora[r=8", "the bracket is not closed"),
        ("lora[r]", "'r' is not field=value"),
        ("lora[r=1,r=2]", "r is given twice"),
        ("nofile.py:Class", "nofile.py: no such file"),
    ],
)
def test_a_mistake_is_named_in_one_line(asked: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve_method(asked)
    assert "\n" not in str(caught.value)


def test_a_method_of_a_file(plugin: str) -> None:
    found = resolve_method(f"{plugin}:Mine[width=7,sites=query+value,mode=none,share=none,exact=true]")
    method: Any = found.method
    assert (method.width, method.sites, method.mode, method.share, method.exact) == (
        7, ("query", "value"), "none", None, True,
    )  # fmt: skip
    assert found.spec.label == "mine[width=7,sites=query+value,mode=none,share=none,exact=true]"
    assert found.spec.source.startswith("sha256:")
    assert method_of(found.spec) == method
    Path(plugin).write_text(PLUGIN + "\n# changed\n")
    with pytest.raises(UserError, match="its code is sha256"):
        method_of(found.spec)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Absent", "has no 'Absent'"),
        ("mine", "did you mean Mine"),
        ("NoMethod", "no subclass of bench.Method"),
        ("NoDataclass", "no dataclass"),
        ("Thief", "calls itself 'lora', which is built in"),
        ("Abstract", "lacks adapt"),
        ("Nameless", "has no name"),
    ],
)
def test_a_wrong_class_of_a_file(plugin: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_method(f"{plugin}:{name}")


def test_a_file_that_does_not_import(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_module")
    with pytest.raises(UserError, match=r"broken.py does not import: ModuleNotFoundError"):
        resolve_method(f"{path}:Mine")


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {
        "theirs": EntryPoint("theirs", "methods.lora:LoRA", "tunebench.methods"),
        "broken": EntryPoint("broken", "no_such_package:Method", "tunebench.methods"),
        "lora": EntryPoint("lora", "no_such_package:Method", "tunebench.methods"),
    }
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    with pytest.raises(UserError, match="calls itself 'lora'"):
        resolve_method("theirs")
    with pytest.raises(UserError, match="'broken' of package no_such_package:Method does not load"):
        resolve_method("broken")
    assert resolve_method("lora").spec.source == "built-in"
    with pytest.raises(UserError, match="did you mean theirs"):
        resolve_method("theirz")


def test_parse() -> None:
    assert parse("a[b=1, c = x=y]") == ("a", {"b": "1", "c": "x=y"})
