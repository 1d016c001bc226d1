"""Each mistake of a user is one line on stderr, exit code 2, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import executor
from bench.store import record_path, runs_folder
from tests.conftest import NoExecutor, bench


def write(folder: Path, name: str, *rows: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(f"{row}\n" for row in rows))


def rows(count: int, *labels: object) -> list[str]:
    return [json.dumps({"text": f"text {n}", "label": labels[n % len(labels)]}) for n in range(count)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folders, each wrong in its own way."""
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
