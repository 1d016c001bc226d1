"""What others bring, one file each, in one comparison: a method, a form of gate, a task, a meter."""

from __future__ import annotations

import json
from pathlib import Path

import bench

METHOD = '''
from dataclasses import dataclass
from typing import ClassVar

from bench import Method


@dataclass(frozen=True, kw_only=True)
class Norms(Method):
    """Trains the scales and shifts of the norms."""

    name: ClassVar[str] = "norms"
    thaws: ClassVar[bool] = True

    def adapt(self, model):
        for module in model.modules():
            if type(module).__name__.endswith("Norm"):
                module.requires_grad_(True)
'''

GATE = '''
from bench import Gate


class Half(Gate):
    """Lets half of each part through, whatever it reads."""

    def forward(self, hidden, mean):
        return hidden.new_full((len(hidden), self.count), 0.5)
'''

TASK = """
from pathlib import Path

from bench import Folder, Row, Rows, Task


def read(folder):
    rows = [Row(f"{'good' if n % 2 else 'bad'} film number {n}", None, ("no", "yes")[n % 2]) for n in range(120)]
    return Rows(train=rows[:80], dev=None, test=rows[80:])


MOOD = Task(name="mood", source=Folder(Path(__file__).parent), read=read, revision="1")
"""

METER = '''
from bench import Column, Meter


class Steps(Meter):
    """Counts how often the clock of training was started."""

    name = "stretches"
    columns = (
        Column(
            key="train_stretches",
            label="stretches of training",
            group="other",
            phase="train",
            says="How often training went on after a look at the dev rows, its start included.",
            formula="starts of the phase train",
            meter="a counter",
            error="none known",
        ),
    )
    count = 0

    def start(self, phase):
        self.count += phase == "train"

    def observed(self, seen):
        return {"train_stretches": self.count} if seen.phase == "train" else {}
'''


def test_a_method_a_gate_a_task_and_a_meter_of_others_stand_in_one_comparison(tmp_path: Path) -> None:
    for name, text in {"norms": METHOD, "half": GATE, "mood": TASK, "stretches": METER}.items():
        (tmp_path / f"{name}.py").write_text(text)
    gated = f"unipelt[gate={tmp_path}/half.py:Half]"
    done = bench.compare(
        ["lora", f"{tmp_path}/norms.py:Norms", gated],
        tasks=f"{tmp_path}/mood.py:MOOD",
        meters=f"{tmp_path}/stretches.py:Steps",
        preset="smoke",
        k=16,
        epochs=2,
        energy=False,
        effective=False,
        resident=False,
        profile=False,
        out=tmp_path / "out",
    )
    assert [record.reason for record in done.records] == [None] * 3
    frame = done.frame().set_index("method")
    assert set(frame["task"]) == {"mood"}
    assert frame["train_stretches"].to_dict() == dict.fromkeys(frame.index, 3)  # the start, and after each of two looks
    assert frame["score"].notna().all()
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "stretches of training" in report
    assert "norms" in report
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "How often training went on after a look at the dev rows" in page  # its definition
    gates = next(json.loads(record.as_json()) for record in done.records if "gate" in record.asked.method.fields)
    assert gates["asked"]["method"]["fields"]["gate"].endswith("half.py:Half")
