from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.grid import plan as grid
from bench.grid.executors import local as executor
from bench.grid.plan import Plan, Request
from bench.presets import PRESETS
from bench.records.record import STILL_ALONE
from bench.records.spec import Measures
from bench.records.store import read_records, runs_folder
from tests.conftest import NoExecutor, bench

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Collects what `compare` asks for, in place of doing it."""
    found: list[Request] = []

    def plan(request: Request) -> Plan:
        found.append(request)
        raise UserError("enough")

    monkeypatch.setattr(executor, "LocalExecutor", NoExecutor)
    monkeypatch.setattr(grid, "plan", plan)
    return found


def test_the_default_needs_no_argument(asked: list[Request], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("compare", monkeypatch=monkeypatch) == 2
    (request,) = asked
    assert len(request.methods) == 8
    assert request.tasks == ("trec", "tweet_valence")
    assert (request.model, request.ks, request.data_seeds) == ("minilm-l6", (100,), (0, 1))
    assert request.protocol.dev == "k"


def test_options_override_the_preset(asked: list[Request], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench(
        *[
            "compare",
            "lora[r=16]",
            "full",
            "--task",
            "a",
            "-t",
            "b",
            "--model",
            "tiny",
            "--out",
            str(tmp_path),
        ],
        *[
            "--k",
            "10,20",
            "--k",
            "all",
            "--seeds",
            "3",
            "--preset",
            "unipelt",
            "--steps",
            "5",
            "--batch",
            "4",
        ],
        *[
            "--head-learning-rate",
            "0.1",
            "--patience",
            "none",
            "--head",
            "cls",
            "--threads",
            "1",
            "--dev",
            "9",
        ],
        monkeypatch=monkeypatch,
    )
    (request,) = asked
    assert request.methods == ("lora[r=16]", "full")
    assert request.tasks == ("a", "b")
    assert request.ks == (10, 20, None)
    assert request.data_seeds == request.model_seeds == (0, 1, 2)
    protocol = request.protocol
    assert (protocol.epochs, protocol.steps, protocol.batch_size, protocol.patience) == (None, 5, 4, None)
    assert (protocol.head, protocol.head_learning_rate, protocol.dev, protocol.max_length) == (
        "cls",
        0.1,
        9,
        128,
    )
    assert request.method_defaults["adapter"] == {"learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("options", "data", "model"),
    [
        ("--seeds 2 --data-seed 7", (7, 7), (0, 1)),
        ("--seeds 2 --model-seed 7", (0, 1), (7, 7)),
        ("--data-seed 3 --model-seed 4", (3,), (4,)),
    ],
)
def test_seeds(
    options: str, data: tuple[int, ...], model: tuple[int, ...], asked: list[Request],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    bench("compare", *options.split(), "--out", str(tmp_path), monkeypatch=monkeypatch)
    assert (asked[0].data_seeds, asked[0].model_seeds) == (data, model)


def test_lists(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for what, known in (("methods", "lora"), ("tasks", "glue/stsb"), ("models", "minilm-l6")):
        assert bench("list", what, monkeypatch=monkeypatch) == 0
        assert known in [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert bench("list", "seeds", monkeypatch=monkeypatch) == 2
    assert "there is methods, tasks, models" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["--help", "compare --help", "list methods", "list tasks", "list models"])
def test_nothing_heavy_is_imported_to_help(arguments: str) -> None:
    code = (
        f"import sys\nsys.argv = ['bench', *{arguments.split()!r}]\nfrom bench.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'sklearn', 'scipy', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_a_shadowed_name_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", "list", "tasks"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"bench: {tmp_path}/tasks.py stands in the place of tunebench's own tasks")


def test_the_end_that_a_batch_system_sends_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def plan(request: Request) -> Plan:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        raise AssertionError("nothing ended it")

    monkeypatch.setattr(executor, "LocalExecutor", NoExecutor)
    monkeypatch.setattr(grid, "plan", plan)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert bench("compare", "--out", str(tmp_path), monkeypatch=monkeypatch) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr().err == "bench: interrupted; the same command goes on where it stopped\n"


SMOKE = ["compare", "--preset", "smoke", "--steps", "6"]


def command(*arguments: str, **settings: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **settings,
    )  # fmt: skip


def test_a_comparison_is_interrupted_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so
    first = command(*SMOKE, *out, start_new_session=True)  # would all that it starts
    signal.signal(signal.SIGINT, ours)
    deadline = time.monotonic() + 200
    while len(list(runs_folder(tmp_path).glob("*.json"))) < 2:  # then the first of them is complete
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGINT)  # as the terminal does: to parent, server and child
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130
    assert errors.splitlines()[-1] == "bench: interrupted; the same command goes on where it stopped"
    assert "Traceback" not in errors
    whole = [record for record in read_records(tmp_path) if record.complete]
    # The interrupt may have come between a run and the job that measures its resident peak: that job is done again.
    before = {record.digest for record in whole if STILL_ALONE not in record.result.costs.absent.values()}
    assert 1 <= len(before) < 8
    assert not list(runs_folder(tmp_path).glob(".*"))

    assert bench(*SMOKE, *out, monkeypatch=monkeypatch) == 0
    output, errors = capfd.readouterr()
    assert f"[{8 - len(before)}/{8 - len(before)}]" in errors
    records = read_records(tmp_path)
    assert {record.status for record in records} == {"ok"}
    assert len(records) == 8
    assert f"written: {tmp_path}/" in output
    assert "report.md" in output
    assert "unipelt" in output
    assert (tmp_path / "table.csv").read_text().count("\n") == 9
    assert bench("export", str(tmp_path), monkeypatch=monkeypatch) == 0
    exported = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["digest"] for line in exported] == [record.digest for record in records]


def test_measures_of_the_preset_and_of_the_options(
    asked: list[Request], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench("compare", "head", "--out", str(tmp_path), monkeypatch=monkeypatch)
    assert asked[0].measures == PRESETS["quick"].measures
    options = "--no-costs --no-effective --no-energy --no-profile --epsilon 0.05 --country FRA --weights all --rounds 5"
    bench("compare", "head", "--out", str(tmp_path), *options.split(), monkeypatch=monkeypatch)
    assert asked[1].measures == Measures(
        costs=False,
        effective=False,
        energy=False,
        profile=False,
        epsilon=0.05,
        country="FRA",
        weights="all",
        profile_rounds=5,
        profile_tokens=PRESETS["quick"].measures.profile_tokens,
        resident=PRESETS["quick"].measures.resident,
    )


@pytest.mark.parametrize(
    ("option", "value", "message"), [("--weights", "some", "--weights some"), ("--epsilon", "-1", "--epsilon -1: ")]
)
def test_a_measure_that_cannot_be(
    option: str,
    value: str,
    message: str,
    asked: list[Request],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench("compare", "head", "--out", str(tmp_path), option, value, monkeypatch=monkeypatch) == 2
    assert message in capsys.readouterr().err
    assert asked == []
