"""Examples in docstrings run, and the public names are where `import bench` finds them."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.grid.executors import local as executor
from tests.conftest import NoExecutor

ROOT = Path(__file__).resolve().parents[2]
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("bench", "methods", "reports")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]
"""Every module with an example in a docstring."""

EXAMPLES = [
    pytest.param(test, id=test.name)
    for module in WITH_EXAMPLES
    for test in doctest.DocTestFinder(exclude_empty=True).find(import_module(module))
    if test.examples
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_its_examples_hold(
    example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    doctest.DocTestRunner().run(example, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("name", bench.__all__)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(bench, name).__doc__
    assert name in dir(bench)


def test_importing_bench_is_light() -> None:
    code = (
        "import sys, bench\n"
        "heavy = {'torch', 'transformers', 'pandas', 'pydantic', 'typer', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_check_is_the_function_before_and_after_its_package_is_imported() -> None:
    code = (
        "import bench\nfirst = bench.check\nimport bench.contract.architectures\nassert callable(bench.check)\n"
        "for verb in (first, bench.check):\n"
        "    try: verb('bitfit', ['brt'])\n"
        "    except bench.UserError as error: assert 'did you mean bert' in str(error), error\n"
        "    else: raise AssertionError"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "epoch: there is no such field; did you mean epochs"),
        ({"epochs": 0}, "epochs 0: "),
        ({"epochs": 3, "steps": 3}, "epochs and steps: set one of"),
        ({"batch_size": True}, "batch_size true: it takes INTEGER"),
        ({"k": 0}, "k 0: a positive number of training rows, or all"),
        ({"preset": "quik"}, "preset: unknown preset 'quik'; did you mean quick"),
        ({"methods": ["lroa"]}, "unknown method 'lroa'; did you mean lora"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_run(
    given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "LocalExecutor", NoExecutor)
    with pytest.raises(bench.UserError) as error:
        bench.compare(**{"preset": "smoke", "out": tmp_path / "out", **given})
    assert message in str(error.value)


def test_a_script_without_a_guard_compares_once_and_imports_nothing_from_where_it_was_started(tmp_path: Path) -> None:
    """A child process would import a folder called `methods` that lies there, if nobody kept it from that."""
    folder = tmp_path / "started"
    (folder / "methods").mkdir(parents=True)
    if sys.version_info >= (3, 11):  # PYTHONSAFEPATH came with it
        (folder / "methods" / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    (tmp_path / "script.py").write_text(
        "import bench\n"
        "print('begun')\n"
        "done = bench.compare('head', preset='smoke', k=8, steps=1, costs=False, energy=False, effective=False,\n"
        "                     profile=False)\n"
        "print([record.status for record in done.records], done.records[0].environment.get('command'))\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        capture_output=True, text=True, cwd=folder, check=False, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.stdout == "begun\n['ok'] None\n", done.stderr
