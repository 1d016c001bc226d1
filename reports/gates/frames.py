"""The frames of a gate study, read back, and the records that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.records.store import Record
from bench.tasks import kinds

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that the gate report is made from. In all frames `seed` names data and model seed of a run.

    Attributes:
        values: one row a gate and example: value, value_padded, task, seed, layer, part, example, length, ...
        effects: one row a gate and example: value, contribution, loss, loss_change.
        acts: one row an intervention and example: loss, score.
        runs: the studied runs, all of one method, K, model and protocol.
        beside: all finished runs at the same K, model, protocol, on the same tasks and seeds, the studied among them.
        examples: at most so many test rows of each task were looked at.
        left_out: runs that were asked for and are not among them, each with the reason.
    """

    values: pd.DataFrame
    effects: pd.DataFrame
    acts: pd.DataFrame
    runs: tuple[Record, ...]
    beside: tuple[Record, ...]
    examples: int
    left_out: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """Label of the gated method."""
        return self.runs[0].asked.method.label

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, sorted."""
        return sorted({record.asked.task.label for record in self.runs})

    @property
    def seeds(self) -> int:
        """Least number of seeds on a task."""
        tasks = [record.asked.task.label for record in self.runs]
        return min(map(tasks.count, tasks))

    @property
    def regressions(self) -> set[str]:
        """Tasks whose labels are numbers."""
        numeric = {name for name, kind in kinds().items() if kind.numeric}
        return {r.asked.task.label for r in self.runs if r.result is not None and r.result.kind in numeric}

    @property
    def about(self) -> str:
        """Which runs these are, in one sentence."""
        asked = self.runs[0].asked
        size = "all" if asked.k is None else asked.k
        return f"Runs: {self.method}, {asked.model.name}, K={size}, {', '.join(self.tasks)}; {self._varied()}."

    def _varied(self) -> str:
        if self.seeds == 1:
            return "one seed"
        names = {(r.asked.data_seed, r.asked.model_seed) for r in self.runs}
        data, model = (len(set(column)) for column in zip(*names, strict=True))
        if data == 1:
            return f"{self.seeds} seeds of the training on the same rows: intervals say nothing of other rows"
        if model == 1:
            return f"{self.seeds} seeds of the training rows, one of the initial values"
        return f"{self.seeds} seeds, of rows and training"

    def variants(self) -> dict[str, list[Record]]:
        """Runs of the same method with other settings, by label; the studied ones among them."""
        name = self.runs[0].asked.method.name
        return {label: runs for label, runs in self.methods().items() if runs[0].asked.method.name == name}

    def methods(self) -> dict[str, list[Record]]:
        """All runs beside, by the method's label, the studied method first."""
        found: dict[str, list[Record]] = {self.method: []}
        for record in sorted(self.beside, key=lambda record: record.asked.method.label):
            found.setdefault(record.asked.method.label, []).append(record)
        return found


def seed_name(record: Record) -> str:
    """Data and model seed of a run."""
    return f"{record.asked.data_seed}/{record.asked.model_seed}"


def load(
    runs: Sequence[Record],
    records: Sequence[Record],
    files: Mapping[str, Mapping[str, Path]],
    *,
    examples: int,
    left_out: Sequence[str] = (),
) -> Study:
    """Reads what the study of each run left behind.

    Args:
        runs: the studied ones.
        records: of the whole comparison.
        files: digest -> the paths of its `values`, `effects` and `acts`.
        examples: at most so many test rows of each task were looked at.
        left_out: what is said of runs that are missing.

    Raises:
        UserError: a file is damaged.
    """
    import pandas as pd

    def read(name: str) -> pd.DataFrame:
        frames = [_read(files[run.digest][name]).assign(seed=seed_name(run)) for run in runs]
        whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
        return whole

    return Study(
        values=read("values"),
        effects=read("effects"),
        acts=read("acts"),
        runs=tuple(runs),
        beside=_beside(runs, records),
        examples=examples,
        left_out=tuple(left_out),
    )


def _beside(runs: Sequence[Record], records: Sequence[Record]) -> tuple[Record, ...]:
    """Finished runs that compare with the studied ones, run for run.

    Raises:
        UserError: two of them have one label and are not of one method, so a table could not tell them apart.
    """
    places = {_place(run) for run in runs}
    found = tuple(record for record in records if record.result is not None and _place(record) in places)
    methods: dict[str, object] = {}
    for record in found:
        method = record.asked.method
        if methods.setdefault(method.label, method) != method:
            raise UserError(f"two versions of {method.label} lie in one folder; compare each in a folder of its own")
    return found


def _place(record: Record) -> tuple[object, ...]:
    asked = record.asked
    return asked.task, asked.k, asked.model, asked.protocol, asked.data_seed, asked.model_seed


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged ({said}); delete it and run bench gates again") from error
