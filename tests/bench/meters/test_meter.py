"""The contract of a meter, and an author's meter in one file from the command line to the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.costs.sheet import prepared_meters
from bench.errors import UserError
from bench.meters import columns, shipped
from bench.meters.column import GROUPS, Column
from bench.meters.meter import Absent, Figures, Meter, Note, Observed, Run, measured_keys
from bench.records.record import COUNTED
from bench.records.spec import Measures
from bench.registry.meters import ResolvedMeter, resolve_meter, run_meters
from bench.run import execute
from tests.conftest import MakeSpec
from tests.conftest import bench as command

QUICK = Measures(energy=False, effective=False, resident=False)


def column(key: str, **changes: Any) -> Column:
    says = {"label": key, "says": "It.", "formula": "f", "meter": "m", "error": "none known"}
    return Column(**{"key": key, "group": "other", **says, **changes})


class Steps(Meter):
    """Answers in every hook what a test puts there."""

    name = "steps"
    columns = (column("train_stretches", phase="train"), column("infer_outputs", phase="infer"))

    def __init__(self, deployed: Callable[[Run], Figures] = lambda run: {"infer_outputs": 2}) -> None:
        self.stretches, self.answer = 0, deployed

    def start(self, phase: str) -> None:
        self.stretches += phase == "train"

    def observed(self, seen: Observed) -> Figures:
        return {"train_stretches": self.stretches} if seen.phase == "train" else {}

    def deployed(self, run: Run) -> Figures:
        return self.answer(run)


def test_every_shipped_meter_declares_its_figures_once_in_a_file_of_its_own() -> None:
    declared = [column for meter in shipped() for column in meter.columns]
    assert len(declared) == len(columns()) > 40
    assert all(column.group in GROUPS for column in declared)
    assert len({meter.name for meter in shipped()}) == len({meter.__module__ for meter in shipped()}) == len(shipped())
    once = {key for meter in shipped() if not meter.every_seed for key in measured_keys(meter)}
    assert set(COUNTED) < once
    # Each key is spelled out where it is declared and where it is measured.
    folder = Path(bench.__file__).parent / "meters"
    for meter in shipped():
        text = (folder / f"{meter.__module__.rpartition('.')[2]}.py").read_text("utf-8")
        measured = [key for key in measured_keys(meter) if text.count(f'"{key}"') < 2]
        assert measured == []


def test_a_meter_measures_in_a_run(make_spec: MakeSpec) -> None:
    steps = ResolvedMeter("x", Steps(lambda run: {"infer_outputs": 2, "rests_on": Note(["a"])}), "sha")
    result = execute(make_spec("head", epochs=2), measures=QUICK, meters=[steps]).record.result
    assert result is not None
    assert result.costs is not None
    assert result.costs.figures == {"train_stretches": 3, "infer_outputs": 2}, "a stretch after each of two evaluations"
    assert result.costs.meters == {"x": "sha"}
    assert [column.key for column in result.costs.columns] == ["train_stretches", "infer_outputs"]
    assert result.costs.absent == {}
    assert result.costs.notes == {"rests_on": ["a"]}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"infer_outputs": Absent("no luck")}, "no luck"),
        ({}, "meter steps returned neither a number nor a reason"),
        ({"infer_output": 2}, "MeterError: meter steps returned infer_output, which none of its columns declares"),
        ({"infer_outputs": True}, "MeterError: meter steps returned True (bool) for infer_outputs"),
        ({"infer_outputs": "2"}, "MeterError: meter steps returned '2' (str) for infer_outputs"),
        ({"infer_outputs": float("nan")}, "MeterError: meter steps returned nan for infer_outputs"),
        (None, "MeterError: meter steps returned None (NoneType); return a dict"),
        (ZeroDivisionError("own"), "ZeroDivisionError: own (test_meter.py, line"),
    ],
)
def test_what_a_meter_does_wrong_costs_its_figure_alone(answer: Any, reason: str, make_spec: MakeSpec) -> None:
    def deployed(run: Run) -> Figures:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    meters = prepared_meters(QUICK, device="cpu", meters=[ResolvedMeter("x", Steps(deployed), "sha")])
    costs = measured(make_spec(), meters)
    assert costs.figures == {"train_stretches": 0}
    assert costs.absent["infer_outputs"].startswith(reason)


def measured(spec: Any, meters: Any) -> Any:
    """The costs of a run that is not trained at all."""
    from bench.costs.sheet import CostSheet
    from bench.meters.clock import Clock
    from bench.meters.phases import Phases
    from bench.training.prepared import prepare

    setting = prepare(spec)
    sheet, phases = CostSheet(setting, {(2, 4): 1}, meters=meters), Phases(Clock())
    for phase in ("train", "infer"):
        with phases.phase(phase):  # type: ignore[arg-type]
            pass
    sheet.observe(phases, train_examples=2, train_useful_tokens=8)
    sheet.measure_inference()
    return sheet.costs(ended=True)


FAULTY = """
from bench import Column, Meter

class Mine(Meter):
    name = {name}
    columns = ({column})
"""
GOOD = 'Column(key="mine", label="l", group="other", says="s", formula="f", meter="m", error="e"),'


@pytest.mark.parametrize(
    ("name", "declared", "says"),
    [
        ("1", GOOD, "has no name"),
        ("'energy'", GOOD, "which is a shipped meter"),
        ("'mine'", "", "declares no figure"),
        ("'mine'", GOOD.replace('"mine"', '"train_flops"'), "'train_flops', which stands for something else already"),
        ("'mine'", GOOD.replace('"other"', '"speed"'), "whose group 'speed' is none of score"),
    ],
)
def test_what_is_no_meter_is_refused_before_the_first_run(name: str, declared: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(FAULTY.format(name=name, column=declared))
    with pytest.raises(UserError, match=says):
        resolve_meter(f"{tmp_path}/my.py:Mine")


def test_an_unknown_meter_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(UserError, match="unknown meter 'enrgy'; did you mean energy?"):
        run_meters(["enrgy"])


def test_an_authors_meter_of_one_file_stands_in_table_page_and_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bench new meter` writes it; the runs are real, each in a process of its own."""
    assert command("new", "meter", "page-faults", "--folder", str(tmp_path), monkeypatch=monkeypatch) == 0
    file = tmp_path / "page_faults.py"
    file.write_text(file.read_text().replace('group="other"', 'group="time"'))
    assert bench.check_meter(f"{file}:PageFaults") == []
    settings: dict[str, Any] = {"preset": "smoke", "k": 8, "steps": 2, "resident": False, "out": tmp_path / "out"}
    settings |= {"energy": False, "effective": False, "profile": False, "weights": "none"}
    done = bench.compare("head", meters=f"{file}:PageFaults", **settings)
    (record,) = done.records
    assert record.result is not None
    assert record.result.costs is not None
    assert record.result.costs.figures["train_page_faults"] > 0
    assert record.result.costs.meters == {f"{file}:PageFaults": resolve_meter(f"{file}:PageFaults").source}
    assert record.result.costs.figures["train_flops"] > 0, "the shipped ones measure beside it"
    assert bench.compare("head", meters=f"{file}:PageFaults", **settings).records == done.records, "it is done"
    file.rename(tmp_path / "gone.py")  # a report made elsewhere knows the column from the record
    capsys.readouterr()
    asked = ("report", str(tmp_path / "out"), "--columns", "train_page_faults")
    assert command(*asked, monkeypatch=monkeypatch) == 0
    assert "page faults in training" in " ".join(capsys.readouterr().out.split())
    report, page = ((tmp_path / "out" / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert "Page faults of the training steps that needed no disk." in report
    assert "ru_minflt after each stretch" in page, "the definition"
    assert bench.load_records(tmp_path / "out")["train_page_faults"].notna().all()
