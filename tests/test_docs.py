"""What the documents show is run: files are written, commands called, counts counted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.contract.architectures import SMALL_MODELS, check_method
from bench.costs.inspect import inspect
from bench.registry.methods import resolve_method
from methods import BUILT_IN
from tasks import TASKS
from tests.conftest import bench

ROOT = Path(__file__).resolve().parents[1]
DOCS = ["docs/extend.md", "docs/methods.md", "docs/tasks.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft's


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text("utf-8")
    return [body for name, body in BLOCK.findall(text) if name == language]


def write_files(document: str, folder: Path) -> dict[str, str]:
    """Writes each python block whose first line names its file; returns name -> text."""
    found = {}
    for body in blocks(document, "python"):
        first, _, rest = body.partition("\n")
        name = first.removeprefix("# ").strip()
        assert name.endswith(".py"), f"{document}: a block says first which file it is"
        (folder / name).write_text(rest)
        found[name] = rest
    return found


def commands(document: str) -> list[list[str]]:
    lines = "\n".join(blocks(document, "sh")).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("bench ")]


@pytest.mark.parametrize("document", DOCS)
def test_its_commands_run(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in commands(document):
        code = bench(*arguments, monkeypatch=monkeypatch)
        assert code == 0, f"{arguments}: {capsys.readouterr().err}"
        write_files(document, tmp_path)


def test_what_new_writes_is_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = write_files("docs/extend.md", tmp_path)
    for what, name in (("method", "norm-tuning"), ("meter", "page-faults")):
        file = tmp_path / f"{name.replace('-', '_')}.py"
        file.unlink()
        assert bench("new", what, name, "--folder", str(tmp_path), monkeypatch=monkeypatch) == 0
        assert file.read_text("utf-8") == shown[file.name]


def test_the_method_of_the_readme_keeps_the_contract(tmp_path: Path) -> None:
    for name, text in write_files("README.md", tmp_path).items():
        cls = re.findall(r"^class (\w+)\(Method\)", text, re.MULTILINE)[-1]
        method = resolve_method(f"{tmp_path / name}:{cls}").method
        found = check_method(method, {"bert": SMALL_MODELS["bert"]})
        assert [finding.says for finding in found if finding.status == "broken"] == []


def counts_table() -> dict[str, list[str]]:
    text = (ROOT / "docs/methods.md").read_text("utf-8")
    _, _, after = text.partition("<!-- counts:")
    rows = re.findall(r"^\| `(\S+)` \| (.+) \|$", after.partition("## The floors")[0], re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


@pytest.mark.parametrize("name", counts_table())
def test_the_counts_are_those_of_the_command(name: str) -> None:
    method = resolve_method(name)
    assert method.spec.label == name
    row = inspect([method], "bert-base-shape", head="native", outputs=2, batch=1, tokens=128)[0]
    flops = [f"{(value or 0) / 1e9:.3f}" for value in (row.forward_flops, row.train_step_flops)]
    assert counts_table()[name] == [f"{row.trained_parameters:,}", f"{row.stored_parameters:,}", *flops]


def test_every_method_and_task_is_described() -> None:
    methods, tasks = ((ROOT / f"docs/{name}.md").read_text("utf-8") for name in ("methods", "tasks"))
    for name in BUILT_IN:
        assert f"## {name}\n" in methods or f"- `{name}`:" in methods
    for name, task in TASKS.items():
        assert f"`{name}`" in tasks
        assert "/" in name or task.caveat in tasks


def test_every_architecture_refused_somewhere_is_in_the_table() -> None:
    text = (ROOT / "docs/methods.md").read_text("utf-8").lower().replace("-", "")
    for architecture in SMALL_MODELS:
        assert architecture.split("-")[0] in text


def test_links_lead_somewhere() -> None:
    for document in [*DOCS, "docs/tuning.md", "CONTRIBUTING.md", "README.md"]:
        path = ROOT / document
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{document} links to {target}"
