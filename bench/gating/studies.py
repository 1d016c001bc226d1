"""The study of several finished runs, one folder of tables for all: an interrupted one goes on where it stopped.

Works on the weights that the runs kept; nothing is trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.gating.study import ROWS_SEED, GateStudy
from bench.gating.trained import trained_setting
from bench.store import Record, gates_path, record_path, weights_path

if TYPE_CHECKING:
    import pandas as pd

FORM = 2
"""Of the tables; whoever changes what stands in them raises it, and they are made anew."""


@dataclass(frozen=True)
class Studied:
    """One studied run.

    Attributes:
        record: the run.
        files: its tables `values`, `effects` and `acts`, as parquet.
        now: whether it was studied now; else its tables were there.
    """

    record: Record
    files: dict[str, Path]
    now: bool


def study(out: Path, records: Sequence[Record], *, examples: int) -> Iterator[Studied]:
    """Studies each run, and keeps its tables under `OUT/gates/runs`.

    Args:
        out: the comparison's folder.
        records: gated runs of one method, at one K, model and protocol.
        examples: test rows looked at in each run.

    Raises:
        UserError: what a run kept is damaged.
    """
    folder = out / "gates" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    means = {record.digest: _dev_means(_recorded(out, record)) for record in records}
    for record in records:
        others = [other for other in records if _elsewhere(other, record)]
        files = _files(folder, record, others, examples)
        sources = [weights_path(out, record.digest), *(gates_path(out, one.digest) for one in (record, *others))]
        if _fresh(files, sources):
            yield Studied(record, files, now=False)
            continue
        gates = GateStudy(trained_setting(out, record), examples)
        order = [(site.layer, site.part) for site in gates.sites]
        own = {r.asked.task.label: means[r.digest].reindex(order).to_numpy() for r in (record, *others)}
        frames = {
            "values": gates.value_frame(),
            "effects": gates.effect_frame(),
            "acts": gates.intervention_frame(own.pop(record.asked.task.label), own),
        }
        for name, frame in frames.items():
            temporary = files[name].with_suffix(".tmp")
            frame.to_parquet(temporary)
            temporary.replace(files[name])
        yield Studied(record, files, now=True)


def _elsewhere(other: Record, record: Record) -> bool:
    """Whether it is the run with the same seeds on another task."""
    seeds = [(r.asked.data_seed, r.asked.model_seed) for r in (other, record)]
    return seeds[0] == seeds[1] and other.asked.task != record.asked.task


def _files(folder: Path, record: Record, others: Sequence[Record], examples: int) -> dict[str, Path]:
    """Where a run's tables lie: the name holds all that they are made from."""
    made_from = [FORM, ROWS_SEED, examples, sorted(other.digest for other in others)]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:8]
    return {name: folder / f"{record.digest}.{key}.{name}.parquet" for name in ("values", "effects", "acts")}


def _fresh(files: dict[str, Path], sources: Sequence[Path]) -> bool:
    """Whether the tables are there and no older than what they are made from."""
    made = max(source.stat().st_mtime for source in sources)
    return all(path.exists() and path.stat().st_mtime >= made for path in files.values())


def _recorded(out: Path, record: Record) -> pd.DataFrame:
    """The gate values that the run recorded.

    Raises:
        UserError: the file is damaged.
    """
    import pandas as pd

    path = gates_path(out, record.digest)
    try:
        return pd.read_parquet(path, columns=["split", "layer", "part", "value"])
    except (OSError, ValueError, LookupError) as error:
        said = str(error).partition("\n")[0]
        remedy = f"delete {record_path(out, record.digest)} and run the same comparison again"
        raise UserError(f"{path} is damaged ({said}); {remedy}") from error


def _dev_means(gates: pd.DataFrame) -> pd.Series[float]:
    """Each gate's mean on the dev rows (the test rows where there are none), by (layer, part)."""
    dev = gates[gates["split"] == "dev"]
    means: pd.Series[float] = (gates if dev.empty else dev).groupby(["layer", "part"])["value"].mean()
    return means
