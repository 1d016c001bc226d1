"""The frames of a gate study, read back, and the records that stand beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.store import Record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Study:
    """Everything that the gate report is made from.

    Attributes:
        method: label of the gated method.
        values: one row a gate and example: value, value_padded, task, seed, layer, part, example, length, ...
        effects: one row a gate and example: value, contribution, loss, loss_change.
        acts: one row an intervention and example: loss, score.
        records: of the comparison, all methods.
    """

    method: str
    values: pd.DataFrame
    effects: pd.DataFrame
    acts: pd.DataFrame
    records: tuple[Record, ...]

    @property
    def own(self) -> list[Record]:
        """The studied runs."""
        return [record for record in self.records if record.asked.method.label == self.method and record.result]

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, sorted."""
        return sorted(self.values["task"].unique())

    @property
    def seeds(self) -> int:
        """Least number of seeds on a task."""
        return int(self.values.groupby("task")["seed"].nunique().min())

    @property
    def regressions(self) -> set[str]:
        """Tasks whose labels are numbers."""
        return {r.asked.task.label for r in self.own if r.result is not None and r.result.kind == "regression"}

    def ablations(self) -> dict[str, list[Record]]:
        """Runs of the same method with other settings, by label; retrained, on the same tasks and seeds."""
        first = self.own[0].asked
        alike = (first.k, first.model, first.protocol)
        found: dict[str, list[Record]] = {}
        for record in self.records:
            asked = record.asked
            same = asked.method.name == first.method.name and (asked.k, asked.model, asked.protocol) == alike
            if record.result is not None and same:
                found.setdefault(record.asked.method.label, []).append(record)
        return found


def load(out: Path, records: Sequence[Record], method: str, *, examples: int) -> Study:
    """Reads what the study of each run left under `OUT/gates/runs`."""
    import pandas as pd

    runs = [record for record in records if record.asked.method.label == method and record.result is not None]

    def read(name: str) -> pd.DataFrame:
        paths = [out / "gates" / "runs" / f"{record.digest}.{examples}.{name}.parquet" for record in runs]
        whole: pd.DataFrame = pd.concat([pd.read_parquet(path) for path in paths if path.exists()], ignore_index=True)
        return whole

    return Study(method, read("values"), read("effects"), read("acts"), tuple(records))
