"""Each mistake of a user is one line on stderr, exit code 2, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.grid.executors import local as executor
from bench.records.store import record_path, runs_folder
from tests.conftest import NoExecutor, bench


def write(folder: Path, name: str, *rows: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(f"{row}\n" for row in rows))


def rows(count: int, *labels: object) -> list[str]:
    return [json.dumps({"text": f"text {n}", "label": labels[n % len(labels)]}) for n in range(count)]


def save(folder: Path, *, keep: float = 1.0) -> None:
    """A tiny model as a folder, of whose weights file a share is kept."""
    from transformers import AutoModel

    from bench.sources.random_models import shape_config, shape_tokenizer

    AutoModel.from_config(shape_config("tiny")).save_pretrained(folder)
    shape_tokenizer("tiny").save_pretrained(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders, each wrong in its own way."""
    tmp_path = tmp_path_factory.mktemp("data")
    for name in ("good", "empty", "malformed", "single", "unseen", "novalidation"):
        write(tmp_path / name, "train.jsonl", *rows(40, 0, 1))
        write(tmp_path / name, "validation.jsonl", *rows(10, 0, 1))
    write(tmp_path / "empty", "train.jsonl")
    write(tmp_path / "malformed", "train.jsonl", *rows(6, 0, 1), "{not json")
    write(tmp_path / "single", "train.jsonl", *rows(40, 1))
    write(tmp_path / "single", "validation.jsonl", *rows(40, 1))
    write(tmp_path / "unseen", "validation.jsonl", *rows(9, 0, 1, 2))
    (tmp_path / "novalidation" / "validation.jsonl").unlink()
    (tmp_path / "file").write_text("")
    (tmp_path / "directory" / "train.jsonl").mkdir(parents=True)
    for name, row in {
        "object": {"text": {"a": 1}, "label": 0},
        "huge": {"text": "a", "label": 1e308},
        "mixed": {"sentence1": "a", "sentence2": "b", "label": 0},
    }.items():
        write(tmp_path / name, "train.jsonl", *rows(6, 0, 1), json.dumps(row))
        write(tmp_path / name, "validation.jsonl", *rows(10, 0, 1))
    pairs = [row.replace('"text"', '"sentence1": "a", "sentence2"') for row in rows(9, 0, 1)]
    write(tmp_path / "halves", "train.jsonl", *pairs)
    write(tmp_path / "halves", "validation.jsonl", *rows(10, 0, 1))
    write(tmp_path / "esc\x1b", "train.jsonl", *rows(40, 0, 1))
    save(tmp_path / "cut", keep=0.5)
    save(tmp_path / "shard")
    (tmp_path / "shard" / "model.safetensors.index.json").write_text('{"weight_map": {"a": "two.safetensors"}}')
    return tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("lroa", "unknown method 'lroa'; did you mean lora"),
        ("lora[q=3]", "lora has no hyper-parameter 'q'"),
        ("lora[r=x]", "lora[r=x]"),
        ("--task trek", "unknown task 'trek'; did you mean trec"),
        ("--model tinny", "unknown model 'tinny'; did you mean tiny"),
        ("--model {data}/good", "has no model.safetensors"),
        ("--preset quik", "unknown preset 'quik'; did you mean quick"),
        ("--k 0", "--k 0: a positive number of training rows, or all"),
        ("--k ten", "--k ten"),
        ("--epochs 0", "--epochs 0"),
        ("--epochs 3 --steps 3", "one of epochs and steps"),
        ("--head max", "--head max"),
        ("--country FR", "--country FR: no energy mix is known for it; did you mean "),
        ("--country xyz", "--country xyz: no energy mix is known for it"),
        ("--pue 0.9", "--pue 0.9"),
        ("--pue nan", "--pue nan"),
        ("--dev many", "--dev many"),
        ("--precision bf16", "precision bf16 needs a CUDA device"),
        ("--seeds 2 --data-seed 1 --model-seed 1", "drop one"),
        ("--task {data}/good --k 41", "k=41 cannot be drawn: there are 40 training rows"),
        ("--task {data}/empty", "empty"),
        ("--task {data}/malformed", "train.jsonl:7"),
        ("--task {data}/single", "one label only"),
        ("--task {data}/unseen", "labels unseen in training, 2"),
        ("--task {data}/novalidation", "has no validation.jsonl"),
        ("--task {data}/nothing", "nothing: no such folder"),
        ("--out {data}/file/out", "cannot be written"),
        ("--task {data}/directory", "directory/train.jsonl cannot be read (Is a directory): rows must be in a file"),
        ("--task {data}/object", "train.jsonl:7 needs text, not an object, in 'text'"),
        ("--task {data}/huge", "train row 7 has the label 1e+308: a regression takes labels up to 1e+15"),
        ("--task {data}/mixed", "train.jsonl:7 has a pair of texts in 'sentence1' and 'sentence2', the rows above"),
        ("--task {data}/halves", "0 of 10 test rows have a second text: give every row a pair of texts, or none"),
        ("--task {data}/no\x1bfolder", "no\\x1bfolder: no such folder"),
        ("--task {data}/esc\x1b", "task 'esc\\x1b' has a sign in its name that cannot be printed"),
        ("--model {data}/cut", "cut/model.safetensors is damaged"),
        ("--model {data}/shard", "two.safetensors is missing, which model.safetensors.index.json names"),
        ("--seeds 1000000000000", "--seeds 1000000000000: Input should be less than or equal to 10000"),
        ("--model-seed 99999999999999999999", "--model-seed 99999999999999999999: "),
        ("lora[learning_rate=inf]", "lora[learning_rate=inf]: hyper-parameters must be finite"),
        ("--baseline zzz", "--baseline zzz: no run is of that method; there is adapter, bitfit, full"),
        ("--baseline loar lora", "did you mean lora?"),
        ("--batch 0", "--batch 0: "),
        ("--eval-batch 0", "--eval-batch 0: "),
        ("--warmup nan", "--warmup nan: "),
        ("--head-learning-rate inf", "--head-learning-rate inf: "),
        ("--weight-decay -1", "--weight-decay -1: "),
        ("--epsilon nan", "--epsilon nan: "),
        ("--epochs none", "--epochs and --steps: set one of"),
        ("--batch 8 --precision none", "--precision none: "),
        ("--batch eight", "--batch eight: "),
        ("--rounds 0", "--rounds 0: "),
        ("--seeds 0", "--seeds 0: "),
        ("--config {data}/nowhere.yaml", "nowhere.yaml cannot be read (No such file or directory)"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    options: str, message: str, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(executor, "LocalExecutor", NoExecutor)
    out = data / "out"
    arguments = ["--preset", "smoke", "--k", "8", "--out", str(out)]
    given = options.format(data=data).split()
    if "--k" in given:
        arguments = [word for word in arguments if word not in ("--k", "8")]
    assert bench("compare", *arguments, *given, monkeypatch=monkeypatch) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("bench: ")
    assert not out.exists() or list(runs_folder(out).iterdir()) == []


def test_a_damaged_record_is_named_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(executor, "LocalExecutor", NoExecutor)
    path = record_path(tmp_path, "0123456789abcdef")
    path.parent.mkdir()
    path.write_text("{")
    for command in (["compare", "--preset", "smoke", "--out", str(tmp_path)], ["report", str(tmp_path)],
                    ["export", str(tmp_path)]):  # fmt: skip
        assert bench(*command, monkeypatch=monkeypatch) == 2
        assert f"{path} is damaged" in capfd.readouterr().err
    assert path.read_text() == "{"


def test_one_folder_needs_no_other_place_for_its_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert bench("report", str(tmp_path), "--into", str(tmp_path / "b"), monkeypatch=monkeypatch) == 2
    assert "one folder's report lies in that folder" in capfd.readouterr().err


UNLUCKY = """
from dataclasses import dataclass
from typing import ClassVar
from bench import Method
from methods.bitfit import BitFit

@dataclass(frozen=True, kw_only=True)
class Unlucky(BitFit):
    name: ClassVar[str] = "unlucky"
    def adapt(self, model):
        raise ValueError("no luck")

@dataclass(frozen=True, kw_only=True)
class Refusing(BitFit):
    name: ClassVar[str] = "refusing"
    def unsupported(self, config):
        return "not this one"
"""


@pytest.mark.parametrize(
    ("methods", "code", "message"),
    [
        ("head {plugin}:Unlucky", 1, "bench: 2 of 4 runs failed; the report gives the reasons"),
        ("{plugin}:Unlucky", 1, "bench: 2 of 2 runs failed; the report gives the reasons"),
        ("head {plugin}:Refusing", 0, ""),
    ],
)
def test_a_failed_run_ends_the_command_in_1_after_the_report(
    methods: str,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(UNLUCKY)
    options = "--preset smoke --k 8 --steps 1 --seeds 2 --no-costs --no-energy --no-effective --no-profile"
    words = [*methods.format(plugin=plugin).split(), *options.split(), "--out", str(tmp_path / "out")]
    assert bench("compare", *words, monkeypatch=monkeypatch) == code
    printed = capfd.readouterr()
    assert "written:" in printed.out
    assert (message in printed.err.splitlines()) if message else ("failed" not in printed.err)
