"""Whether malloc keeps the blocks of a step is measured by the page faults of real runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from bench.grid.executors.executor import Executor
from bench.meters.allocator import Allocator, expected, glibc
from bench.records.spec import Measures, ModelSpec
from bench.sources.models import fetch_model
from tests.conftest import MakeSpec, run_one

GLIBC = pytest.mark.skipif(glibc()[0] is None, reason="only glibc's malloc can be set")

WATCHED = """
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Watched(Method):
    name: ClassVar[str] = "watched"
    thaws: ClassVar[bool] = True
    learning_rate: float = 1e-4

    def adapt(self, model):
        model.requires_grad_(True)

    def penalty(self, model):
        with (Path(__file__).parent / "faults.txt").open("a") as stream:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt, file=stream)
"""


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of MiniLM's width and vocabulary, of two layers: its word embedding's gradient is 47 MB."""
    from transformers import BertConfig, BertModel

    path = tmp_path_factory.mktemp("backbone")
    config = BertConfig(hidden_size=384, num_hidden_layers=2, num_attention_heads=12, intermediate_size=1536)
    BertModel(config).save_pretrained(path)
    fetch_model("tiny").tokenizer().save_pretrained(path)
    return path


@GLIBC
@pytest.mark.parametrize("asked", ["keep", "system"])
def test_page_faults_of_a_step_in_a_run(
    tmp_path: Path, backbone: Path, make_spec: MakeSpec, executor: Executor, asked: Allocator
) -> None:
    (tmp_path / "watched.py").write_text(WATCHED)
    spec = make_spec(f"{tmp_path}/watched.py:Watched", k=32, epochs=3, dev=0)
    model = ModelSpec(name=str(backbone), revision=fetch_model(str(backbone)).spec.revision)
    spec = spec.model_copy(update={"model": model})
    measures = Measures(costs=False, energy=False, effective=False, weights="none", allocator=asked)
    record = run_one(executor, spec, tmp_path / "out", measures)
    assert record.status == "ok", record.reason
    assert record.environment["allocator"] == expected(asked)
    counts = list(map(int, (tmp_path / "faults.txt").read_text().split()))
    steps = [later - earlier for earlier, later in pairwise(counts[3:])]
    assert len(steps) >= 6
    if asked == "keep":
        assert median(steps) < 100
    else:
        assert median(steps) > 5000


def in_child(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **variables},
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    return done.stdout.strip()


SAY = "from bench.meters.allocator import use, in_force, expected; use(%r); print(in_force()); print(expected(%r))"


@GLIBC
def test_what_is_in_force_is_said() -> None:
    """In children: a test before this one may have set the malloc of this process, for which there is no way back."""
    said, known = in_child(SAY % ("keep", "keep")).splitlines()
    assert said == known == expected("keep")
    assert said.endswith(", blocks kept")
    said, known = in_child(SAY % ("system", "system")).splitlines()
    assert said == known == expected("system")
    assert said.endswith(", as the system has it")
    said, known = in_child(SAY % ("keep", "system")).splitlines()
    assert said.endswith(", blocks kept")
    assert known == expected("system"), "what was set here does not count for a new process"
    own = in_child(SAY % ("system", "system"), MALLOC_TRIM_THRESHOLD_="1").splitlines()
    assert len(set(own)) == 1
    assert own[0].endswith("as the system has it (MALLOC_TRIM_THRESHOLD_=1)")


@GLIBC
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to make a mallopt that refuses")
@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ("parameter == -2", ", partly kept: mallopt refused M_TOP_PAD"),
        ("parameter != -4", ", partly kept: mallopt refused M_TRIM_THRESHOLD, M_TOP_PAD"),
        ("1", ", as the system has it (mallopt refused M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD)"),
    ],
)
def test_what_mallopt_refuses_is_said_and_expected(tmp_path: Path, refused: str, words: str) -> None:
    """A C library of which a hardened or another malloc refuses some settings: its mallopt stands before glibc's."""
    (tmp_path / "m.c").write_text(f"int mallopt(int parameter, int value) {{ return ({refused}) ? 0 : 1; }}\n")
    library = tmp_path / "refusing.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "m.c"], check=True)
    said, known = in_child(SAY % ("keep", "keep"), LD_PRELOAD=str(library)).splitlines()
    assert said == known, "else every comparison would measure its profile anew"
    assert said.endswith(words)
    assert (
        in_child(SAY % ("system", "system"), LD_PRELOAD=str(library)).splitlines()[0].endswith("as the system has it")
    )


def test_the_allocator_changes_no_digest(make_spec: MakeSpec) -> None:
    assert "allocator" not in type(make_spec().protocol).model_fields
    assert Measures().allocator == "keep"
