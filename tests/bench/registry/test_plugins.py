"""Methods, tasks and gates of others come in by an installed package or a file; a broken one breaks itself only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import bench
from bench.errors import UserError
from bench.registry import listing
from bench.registry.methods import resolve_method
from bench.registry.tasks import resolve_task
from methods.kit.gates import form
from methods.kit.loading import load_file

MODULE = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from bench import Folder, Gate, Method, Task

@dataclass(frozen=True, kw_only=True)
class Theirs(Method):
    name: ClassVar[str] = "theirs"
    width: int = 4

    def adapt(self, model):
        pass

THEIR_TASK = Task(name="their-task", source=Folder(Path(__file__).parent))
"""


def install(folder: Path, name: str, module: str, entry_points: str) -> None:
    """What pip leaves behind: a module and its distribution's metadata."""
    (folder / f"{name}.py").write_text(module)
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    good = "[tunebench.methods]\ntheirs = good_plug:Theirs\nlora = good_plug:Theirs\n"
    install(tmp_path, "good_plug", MODULE, good + "[tunebench.tasks]\ntheir-task = good_plug:THEIR_TASK\n")
    bad = "[tunebench.methods]\nbroken = bad_plug:Theirs\nabsent = bad_plug:Nothing\n"
    install(tmp_path, "bad_plug", "import no_such_module_at_all", bad)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("good_plug", "bad_plug"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_an_installed_package_is_found(installed: Path) -> None:
    found = resolve_method("theirs[width=7]")
    assert found.spec.source == "good_plug==1.2"
    assert found.spec.label == "theirs[width=7]"
    task = resolve_task("their-task")
    assert task.spec.source == found.spec.source


def test_listing_imports_nothing(installed: Path) -> None:
    lines = dict(listing.list_methods())
    assert lines["theirs"].startswith("from good_plug==1.2")
    assert lines["broken"].startswith("from bad_plug==1.2")
    assert lines["lora"] == "from good_plug==1.2 (refused: the name is built in)"
    assert not {"good_plug", "bad_plug"} & set(sys.modules)


def test_a_broken_package_breaks_its_own_use_only(installed: Path) -> None:
    says = (
        "'broken' of package bad_plug==1.2 does not load: ModuleNotFoundError: No module named 'no_such_module_at_all'"
    )
    with pytest.raises(UserError, match=says):
        resolve_method("broken")
    assert resolve_method("theirs").method.name == "theirs"
    assert resolve_method("lora").spec.source == "built-in"


def test_two_packages_with_one_name(installed: Path) -> None:
    install(installed, "other_plug", MODULE, "[tunebench.methods]\ntheirs = other_plug:Theirs\n")
    with pytest.raises(UserError, match="'theirs' is offered by good_plug==1.2 and other_plug==1.2"):
        resolve_method("theirs")


def test_all_that_an_author_imports_is_there() -> None:
    for name in bench.__all__:
        public = getattr(bench, name)
        assert callable(public)
        assert public.__name__ == name or not isinstance(public, type)
    with pytest.raises(AttributeError, match="no attribute 'Metod'; it has"):
        bench.Metod  # noqa: B018


def test_a_gate_and_a_method_of_one_file_are_one_module(tmp_path: Path) -> None:
    path = tmp_path / "both.py"
    path.write_text(
        MODULE
        + "class Open(Gate):\n    def forward(self, hidden, mean):\n"
        + "        return hidden.new_ones(len(hidden), self.count)\n"
    )
    gate = form(f"{path}:Open")
    assert gate.__module__ == type(resolve_method(f"{path}:Theirs").method).__module__ == load_file(path).__name__
    assert issubclass(gate, bench.Gate)


def test_a_gate_of_another_shape_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        MODULE
        + "class One(Gate):\n    def forward(self, hidden, mean):\n        return hidden.new_ones(len(hidden), 1)\n"
    )
    findings = bench.check(f"unipelt[gate={tmp_path}/one.py:One]", ["bert"])
    broken = [finding.says for finding in findings if finding.status == "broken"]
    assert broken
    assert all("gate One returned shape (" in says for says in broken)


def test_a_changed_file_is_another_module(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("A = 1")
    assert load_file(path).A == 1
    path.write_text("A = 2")
    assert load_file(path).A == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.py: no such file"):
        form(f"{tmp_path}/gone.py:Gate")
