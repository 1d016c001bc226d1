"""`bench compare --config`: a file, the options and the keywords of Python ask for the same by the same names."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import typer.main
import typer.testing

from bench import cli
from bench.commands import options
from bench.commands.api import compare
from bench.grid import plan as grid
from bench.grid import schedule
from bench.grid.executors import local as executor
from bench.grid.plan import Plan, Request, plan
from bench.grid.request import request_of, requests_of, study_of
from bench.presets import PRESETS
from bench.records.spec import Measures, Protocol, option_of
from bench.records.study import CONFIG, DECLARED, Study, add_study, read_studies, write_studies
from tests.conftest import NoExecutor, bench

ROOT = Path(__file__).resolve().parents[3]


def options_of_compare() -> dict[str, Any]:
    command = typer.main.get_command(cli.program()).commands["compare"]  # type: ignore[attr-defined]
    return {option: parameter for parameter in command.params for option in parameter.opts}


def test_every_field_is_an_option_with_its_docstring() -> None:
    known = options_of_compare()
    for model in (Protocol, Measures):
        for field, declared in model.model_fields.items():
            parameter = known[option_of(field)]
            assert parameter.name == field
            assert " ".join((declared.description or "?").split()) in parameter.help
            assert "[default: " in parameter.help
    assert known["--preset"].metavar == "|".join(PRESETS)


def test_the_fields_names_do_not_clash() -> None:
    assert len(DECLARED) == sum(len(model.model_fields) for model in (Study, Protocol, Measures))
    assert len({option_of(field) for field in DECLARED}) == len(DECLARED)
    assert set(Study.model_fields) < set(inspect.signature(compare).parameters)
    assert not {"config", "out", "baseline"} & DECLARED.keys()


class Novel(Protocol):
    novel_field: int | None = None
    """What a new field does."""


def test_a_new_field_is_one_line_in_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(rich_markup_mode=None)
    got: dict[str, Any] = {}

    @app.command()
    @options.takes(Novel())
    def command(**settings: Any) -> None:
        got.update(settings)

    run = typer.testing.CliRunner().invoke
    assert run(app, ["--novel-field", "3"]).exit_code == 0
    assert got["novel_field"] == "3"
    assert "What a new field does." in run(app, ["--help"], env={"COLUMNS": "200"}).output


def test_docs_options_is_what_the_command_prints() -> None:
    text = (ROOT / "docs/options.md").read_text("utf-8")
    assert text == options.options_document(), options.MADE_BY


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    found: list[Request] = []

    def noted(request: Request) -> Plan:
        found.append(request)
        return plan(request)

    def run_grid(*_: Any) -> list[Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(executor, "LocalExecutor", NoExecutor)
    monkeypatch.setattr(grid, "plan", noted)
    monkeypatch.setattr(schedule, "run_grid", run_grid)
    return found


STUDY = """\
# A comment.
preset: smoke
methods: [head, "lora[r=2,alpha=4]"]
tasks: synthetic
k: [8, 16]
seeds: 2
steps: 12
batch_size: 4
weight_decay: 1e-2     # YAML 1.1 takes this for a text
patience: none
costs: no
"""


def test_a_file_asks_and_options_override_it(
    asked: list[Request], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    words = ["compare", "--config", str(file), "--out", str(tmp_path / "out")]
    assert bench(*words, monkeypatch=monkeypatch) == 130
    assert bench(*words, "full", "--k", "all", "--epochs", "3", "--costs", monkeypatch=monkeypatch) == 130
    first, second = asked
    assert first.methods == ("head", "lora[r=2,alpha=4]")
    assert (first.tasks, first.ks, first.data_seeds, first.model) == (("synthetic",), (8, 16), (0, 1), "tiny")
    protocol = first.protocol
    assert (protocol.steps, protocol.epochs, protocol.batch_size, protocol.weight_decay) == (12, None, 4, 0.01)
    assert (protocol.patience, protocol.max_length, first.measures.costs) == (None, 64, False)
    assert first.method_defaults == PRESETS["smoke"].method_defaults
    assert (second.methods, second.ks) == (("full",), (None,))
    assert (second.protocol.steps, second.protocol.epochs, second.measures.costs) == (None, 3, True)
    # What the two asked for is in the folder's file, and that file asks for both again.
    again = requests_of({}, config=tmp_path / "out" / CONFIG)
    assert [digests(request) for request in again] == [digests(request) for request in asked]
    assert [request.measures for request in again] == [request.measures for request in asked]
    assert [study_of(request) for request in again] == read_studies(tmp_path / "out" / CONFIG)


def digests(request: Request) -> list[str]:
    return [run.digest for run in plan(request).runs]


def test_json_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    file.write_text(json.dumps({"preset": "smoke", "k": "all", "patience": None, "method_defaults": {}}, indent="\t"))
    (request,) = requests_of({}, config=file)
    assert (request.ks, request.protocol.patience, request.method_defaults) == ((None,), None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "{file}: epoch: there is no such field; did you mean epochs"),
        ("epochs: 0", "{file}: epochs 0: Input should be greater than 0"),
        ("batch_size: [1, 2]", "{file}: batch_size [1, 2]: "),
        ("batch_size: yes", "{file}: batch_size true: it takes INTEGER"),
        ("epochs: 1\nsteps: 1", "{file}: epochs and {file}: steps: set one of"),
        ("k: ten", "{file}: k ten: a positive number of training rows, or all"),
        ("k: 1.5", "{file}: k 1.5: a positive number"),
        ("seeds: 0", "{file}: seeds 0: "),
        ("methods: {{a: 1}}", "{file}: methods "),
        ("method_defaults: [1]", "{file}: method_defaults [1]: "),
        ("preset: quik", "{file}: preset: unknown preset 'quik'; did you mean quick"),
        ("seeds: 1\ndata_seed: 1\nmodel_seed: 1", "{file}: model_seed: two of them leave nothing to vary"),
        ("weights: some", "{file}: weights some: "),
        ("epochs: 3\nsteps: none\nepochs: 4", "{file}: epochs: this field stands there twice"),
        ("batch_size: null", "{file}: batch_size none: "),
        ("a: [", "{file} is no YAML: line "),
        ("- head", "{file} holds no fields"),
        ("", "{file} is empty"),
        ("\x00", "{file} is no YAML: "),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_file_and_field(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(executor, "LocalExecutor", NoExecutor)
    file = tmp_path / "study.yaml"
    file.write_text(text.replace("{{", "{").replace("}}", "}"))
    words = ["compare", "--config", str(file), "--out", str(tmp_path / "out")]
    assert bench(*words, monkeypatch=monkeypatch) == 2
    said = capfd.readouterr().err
    assert said.startswith("bench: ")
    assert message.format(file=file) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"preset": "smoke", "k": ["all", 3], "steps": 7, "country": "FRA", "weights": "all"},
        {"preset": "unipelt", "seeds": 3, "data_seed": 4},
        {"seeds": 2, "model_seed": 9},
        {"data_seed": 3, "model_seed": 2**63 - 1},
        {"preset": "gates", "dev": 7, "epsilon": 0.5, "methods": ['my folder/ü "x".py:Mine']},
    ],
)
def test_a_request_goes_through_its_file_unchanged(given: dict[str, Any], tmp_path: Path) -> None:
    request = request_of(given)
    file = write_studies(tmp_path / CONFIG, [study_of(request)])
    assert requests_of({}, config=file) == [request]


def test_a_folder_keeps_what_was_asked_of_it_once(tmp_path: Path) -> None:
    file = tmp_path / CONFIG
    for given in ({}, {"epochs": 3}, {"epochs": 3, "costs": False}):
        add_study(file, study_of(request_of({"preset": "smoke", **given})))
    first, second = read_studies(file)
    assert (first["epochs"], second["epochs"], second["costs"]) == (8, 3, False)


def test_a_report_of_records_alone_carries_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (old,) = (ROOT / "tests/records").glob("schema1-lora-46e1c9259e7a9f67.json")
    (runs / "46e1c9259e7a9f67.json").write_bytes(old.read_bytes())
    assert bench("report", str(tmp_path), "--format", "markdown", monkeypatch=monkeypatch) == 0
    assert f"report.md, {CONFIG}\n" in capsys.readouterr().out
    (request,) = requests_of({}, config=tmp_path / CONFIG)
    assert digests(request) == ["46e1c9259e7a9f67"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("profile head --head max", "--head max: Input should be 'mean'"),
        ("profile head --rounds 0", "--rounds 0: "),
        ("profile head --allocator mine", "--allocator mine: "),
        ("inspect head --head max", "--head max: "),
    ],
)
def test_other_commands_read_the_fields_they_share_in_the_same_way(
    words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*words.split(), monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.startswith(f"bench: {message}")


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--version", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.startswith("tunebench")
