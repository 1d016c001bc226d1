from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import environment


def test_where_a_run_happened() -> None:
    found = environment.describe("cpu")
    assert found["versions"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert None not in found.values()
    assert environment.usable_cpus() >= 1


def test_the_commit_is_marked_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "bench").mkdir()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "bench" / "environment.py"))
    environment.commit.cache_clear()
    try:
        assert environment.commit() is None
        (tmp_path / "file").write_text("1")
        for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
            git(*command)
        environment.commit.cache_clear()
        assert environment.commit() == git("rev-parse", "HEAD")
        (tmp_path / "file").write_text("2")
        environment.commit.cache_clear()
        assert environment.commit() == f"{git('rev-parse', 'HEAD')}-dirty"
    finally:
        environment.commit.cache_clear()


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "bench" / "environment.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    environment.commit.cache_clear()
    try:
        assert environment.commit() is None
    finally:
        environment.commit.cache_clear()


def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/somewhere/bin/bench", "/somewhere/bench/cli.py"):
        monkeypatch.setattr("sys.argv", [program, "compare", "lora[r=2]"])
        assert environment.command_line() == "bench compare 'lora[r=2]'"


def test_another_program_has_no_command_to_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/study.py", "--fast"])
    assert environment.command_line() is None


def test_a_change_of_a_methods_code_is_another_digest(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    shutil.copytree(root / "methods", tmp_path / "methods", ignore=shutil.ignore_patterns("__pycache__"))

    def digest() -> str:
        code = "from bench.environment import methods_digest; print(methods_digest())"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    before = digest()
    assert before == environment.methods_digest() == environment.describe("cpu")["methods_code"]
    for name in ("lora.py", "kit/sites.py"):
        with (tmp_path / "methods" / name).open("a") as stream:
            stream.write("# slower\n")
        assert digest() != before
        before = digest()
