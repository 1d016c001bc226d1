"""`bench new`: writes an example of a method, task, meter or kind of task, to be changed, and its test."""

from __future__ import annotations

import json
import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UserError

Name = Annotated[str, typer.Argument(help="Its name on the command line and in reports, such as norm-tuning.")]
Where = Annotated[Path, typer.Option(help="The folder for the files.")]

new = typer.Typer(
    help="Writes an example of a method, task, meter or kind of task to start from, and its test.", no_args_is_help=True
)

_METHOD_FILE = '''\
from dataclasses import dataclass
from typing import ClassVar

from bench import Method


@dataclass(frozen=True, kw_only=True)
class {cls}(Method):
    """Trains the scales and shifts of the norms. Replace this by your idea."""

    name: ClassVar[str] = "{name}"
    thaws: ClassVar[bool] = True  # it trains weights of the backbone itself

    def adapt(self, model):
        for module in model.modules():
            if type(module).__name__.endswith("Norm"):
                module.requires_grad_(True)
'''

_METHOD_TEST_FILE = """\
from pathlib import Path

import bench

HERE = Path(__file__).parent


def test_it_keeps_the_contract():
    findings = bench.check(f"{{HERE}}/{module}.py:{cls}")
    assert [finding for finding in findings if finding.status == "broken"] == []
"""

_TASK_FILE = """\
from pathlib import Path

from bench import Folder, Task

{constant} = Task(
    name="{name}",
    source=Folder(Path(__file__).parent / "{module}", text="text", label="label"),
    headline="accuracy",
    caveat="Four rows, to show the form. Replace them by yours.",
)
"""

_TASK_TEST_FILE = """\
from bench.sources.split import load_rows

from {module} import {constant}


def test_its_rows_are_read():
    rows = load_rows({constant})
    assert {{row.label for row in rows.test}} <= {{row.label for row in rows.train}}
"""

_METER_FILE = '''\
import resource

from bench import Column, Meter


class {cls}(Meter):
    """Counts the page faults of the training steps. Replace this by what you measure."""

    name = "{name}"
    columns = (
        Column(
            key="train_{key}",
            label="page faults in training",
            group="other",
            phase="train",
            says="Page faults of the training steps that needed no disk.",
            formula="ru_minflt after each stretch of training less ru_minflt before it",
            meter="getrusage of the process",
            error="faults of other threads of the process count too; absent on Windows",
        ),
    )

    def __init__(self):
        self.faults = 0

    def start(self, phase):
        self.before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def stop(self, phase):
        if phase == "train":
            self.faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - self.before

    def observed(self, seen):
        return {{"train_{key}": self.faults}} if seen.phase == "train" else {{}}
'''

_METER_TEST_FILE = """\
from pathlib import Path

import bench

HERE = Path(__file__).parent


def test_it_keeps_the_contract():
    assert bench.check_meter(f"{{HERE}}/{module}.py:{cls}") == []
"""

_KIND_FILE = '''\
from bench import Kind, Score


class {cls}(Kind):
    """Counts: a label is a whole number from 0, learned by a Poisson loss. Replace this by your kind."""

    name = "{name}"
    scores = (Score("pearson", -1.0, 1.0, constant=0.0),)
    numeric = True
    examples = (0, 1, 2, 5)

    # torch and numpy are imported within the functions, because the command line lists kinds and has to start quickly.

    def reader(self, types):
        return int

    def refusal(self, label):
        return f"has the label {{label}}: counts begin at 0" if label < 0 else None

    def remark(self, values):
        return "labels read as counts"

    def outputs(self, classes):
        return 1

    def encode(self, targets):
        import torch

        return torch.tensor(targets, dtype=torch.float32)

    def texts(self, targets, names):
        return targets.astype(int).astype(str)

    def made_up(self, shape, device=None):
        import torch

        return torch.zeros(shape[0], device=device)

    def loss(self, logits, targets):
        return self.losses(logits, targets).mean()

    def losses(self, logits, targets):
        from torch.nn import functional

        # The output of the model is the logarithm of the expected count.
        return functional.poisson_nll_loss(logits.float().squeeze(-1), targets, reduction="none")

    def constant(self, targets, outputs):
        return targets.mean().clamp(min=1e-6).log().view(1)

    def predictions(self, logits):
        import numpy as np

        return np.exp(logits.squeeze(axis=1))

    def score(self, targets, outputs):
        import numpy as np

        truth, given = self.truth_and_answers(targets, outputs)
        if np.ptp(truth) == 0 or np.ptp(given) == 0:
            return {{}}  # a correlation with a constant is undefined
        return {{"pearson": float(np.corrcoef(truth, given)[0, 1])}}


KIND = {cls}()
'''

_KIND_TEST_FILE = """\
import bench

from {module} import KIND


def test_it_keeps_the_contract():
    assert bench.check_kind(KIND) == []
"""

ROWS = (("what a good film", "positive"), ("what a bad film", "negative"))


@new.command("method")
def new_method(name: Name, folder: Where = Path()) -> None:
    """Writes NAME.py, a method in ten lines, and a test that it keeps the contract of methods."""
    module, cls = _identifiers(name)
    _write(
        folder,
        {
            f"{module}.py": _METHOD_FILE.format(cls=cls, name=name),
            f"test_{module}.py": _METHOD_TEST_FILE.format(cls=cls, module=module),
        },
    )
    path = folder / f"{module}.py:{cls}"
    print(f"bench check {path}\nbench compare {path} head full")


@new.command("task")
def new_task(name: Name, folder: Where = Path()) -> None:
    """Writes NAME.py, a task, the folder NAME with its rows, and a test that reads them."""
    module, _ = _identifiers(name)
    constant = module.upper()
    line = "\n".join(json.dumps({"text": text, "label": label}) for text, label in ROWS) + "\n"
    _write(
        folder,
        {
            f"{module}.py": _TASK_FILE.format(name=name, module=module, constant=constant),
            f"test_{module}.py": _TASK_TEST_FILE.format(module=module, constant=constant),
            f"{module}/train.jsonl": line.replace("film", "book") + line.replace("film", "song"),
            f"{module}/validation.jsonl": line,
        },
    )
    print(f"bench compare head --task {folder / f'{module}.py:{constant}'} --model tiny --k 2 --dev 2")


@new.command("meter")
def new_meter(name: Name, folder: Where = Path()) -> None:
    """Writes NAME.py, a meter with one figure, and a test that it keeps the contract of meters."""
    module, cls = _identifiers(name)
    _write(
        folder,
        {
            f"{module}.py": _METER_FILE.format(cls=cls, name=name, key=module),
            f"test_{module}.py": _METER_TEST_FILE.format(cls=cls, module=module),
        },
    )
    print(f"bench compare lora full --preset smoke --meter {folder / f'{module}.py:{cls}'}")


@new.command("kind")
def new_kind(name: Name, folder: Where = Path()) -> None:
    """Writes NAME.py, a kind of task, and a test that it keeps the contract of kinds."""
    module, cls = _identifiers(name)
    _write(
        folder,
        {
            f"{module}.py": _KIND_FILE.format(cls=cls, name=name),
            f"test_{module}.py": _KIND_TEST_FILE.format(module=module),
        },
    )
    print(f'in the pyproject.toml of your package:\n[project.entry-points."tunebench.kinds"]\n{name} = "{module}:KIND"')


def _identifiers(name: str) -> tuple[str, str]:
    """Makes the names of the Python module and of the class, such as `norm_tuning` and `NormTuning` of `norm-tuning`.

    Raises:
        UserError: the name cannot be written on the command line, or is taken.
    """
    from bench.meters import shipped
    from bench.registry.methods import refused_name
    from bench.registry.plugins import entry_points
    from bench.tasks.kinds import KIND_GROUP, shipped_kinds
    from tasks import TASKS

    reason = refused_name(name)
    if reason is not None:
        raise UserError(f"{name!r} {reason}")
    groups = ("tunebench.methods", "tunebench.tasks", "tunebench.meters", KIND_GROUP)
    taken = {
        *TASKS,
        *shipped_kinds(),
        *(meter.name for meter in shipped()),
        *(entry for group in groups for entry in entry_points(group)),
    }
    if name in taken:
        raise UserError(f"{name!r} is taken (bench list methods, tasks, meters, kinds); give it another name")
    module = re.sub(r"\W", "_", name).lower()
    cls = "".join(piece[:1].upper() + piece[1:] for piece in re.split(r"\W|_", name))
    if not module.isidentifier() or keyword.iskeyword(module):
        raise UserError(f"{name!r} makes no name of a Python module; begin with a letter and use no Python keyword")
    return module, cls


def _write(folder: Path, files: dict[str, str]) -> None:
    """Writes all files, or none if one of them exists.

    Raises:
        UserError: a file exists already.
    """
    for name in files:
        if (folder / name).exists():
            raise UserError(f"{folder / name} is there already; nothing was written")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(f"wrote {path}")
