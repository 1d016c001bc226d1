"""Data flows one way: imports point upstream only, and the harness knows no method by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from methods import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
OURS = {"tasks", "methods", "bench", "reports"}
ALLOWED = {
    "tasks": {"bench"},
    "methods": {"methods"},
    "bench": {"bench", "methods", "tasks"},
    "reports": {"reports", "bench.records", "bench.meters", "bench.tasks", "bench.errors", "bench.tuning.choice"},
}
"""Top package -> what of ours its files may import."""

FILES = [
    ROOT / "tasks.py",
    *(path for name in ("methods", "bench", "reports") for path in (ROOT / name).rglob("*.py")),
]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(path: Path, source: str) -> list[str]:
    place = path.relative_to(ROOT)
    package = place.parts[0].removesuffix(".py")
    top = place.parts[:2] == ("bench", "commands")
    allowed = ALLOWED[package] | ({"reports"} if top else set())
    ours = [name for name in imported(ast.parse(source)) if name.split(".")[0] in OURS]
    return [name for name in ours if not any(f"{name}.".startswith(f"{prefix}.") for prefix in allowed)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upstream(path: Path) -> None:
    assert forbidden(path, path.read_text("utf-8")) == []


def test_the_line_would_be_held() -> None:
    assert forbidden(ROOT / "methods/x.py", "from bench.training.loop import train") == ["bench.training.loop.train"]
    assert forbidden(ROOT / "reports/x.py", "import bench.run") == ["bench.run"]
    assert forbidden(ROOT / "bench/grid/plan.py", "from reports.tables.tables import show") == [
        "reports.tables.tables.show"
    ]
    assert forbidden(ROOT / "bench/commands/x.py", "from reports.tables.tables import show") == []


def named(source: str) -> set[str]:
    """Methods whose name stands in a file as a string."""
    nodes = ast.walk(ast.parse(source))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return texts & set(BUILT_IN)


# Presets are data. A head is also a piece of every model, and a prefix of every path.
HARNESS = [path for path in FILES if "bench" in path.relative_to(ROOT).parts and path.name != "presets.py"]


@pytest.mark.parametrize("path", HARNESS, ids=lambda path: path.name)
def test_the_harness_knows_no_method_by_name(path: Path) -> None:
    assert named(path.read_text("utf-8")) - {"head", "prefix"} == set()
    assert named('if method == "lora": ...') == {"lora"}
