"""Measures what the gates of one trained model do: values, contributions, removals and interventions."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.errors import UserError
from bench.gates.interventions import LearnedGates, tables
from bench.parts.effective import removal_effects
from bench.parts.gates import GateSite, recording, removed, replaced
from bench.parts.measure import all_sites, gate_values, in_row_order, long_frame, losses, part_contributions
from bench.parts.trained import trained_setting
from bench.records.store import Record, gates_path, record_path, weights_path
from bench.training.encoding import Batch, Encoded, batches
from bench.training.loop import predict
from bench.training.prepared import Setting, on_device

if TYPE_CHECKING:
    import pandas as pd

FORM = 2
"""Version of the tables. Raise it when their content changes, so that stored tables are made again."""

REMOVED = "removed"
"""Name of the intervention that removes every gated part instead of setting gates."""
ROWS_SEED = 0
"""Seed of the sample of test rows; it is the same in every run of a task."""


def drawn_rows(rows: int, examples: int) -> np.ndarray:
    """The sampled test rows, in rising order.

    Args:
        rows: number of test rows.
        examples: size of the sample; all rows are taken where there are no more.
    """
    order = np.argsort(np.random.PCG64(ROWS_SEED).random_raw(rows), kind="stable")
    return np.sort(order[:examples])


class GateStudy:
    """Measures one trained classifier on a sample of its test rows.

    Args:
        setting: the classifier and its data, from `trained_setting`.
        examples: number of test rows; all if there are fewer.
    """

    def __init__(self, setting: Setting, examples: int) -> None:
        self._setting = setting
        self.rows = drawn_rows(len(setting.test), examples)
        self.part = setting.test.only(self.rows)
        self.sites = all_sites(setting)

    def losses(self) -> np.ndarray:
        """The loss of each example with the model as it is now, (rows,)."""
        return self._losses(self._setting.logits(self.part))

    def _losses(self, logits: Tensor) -> np.ndarray:
        return losses(self._setting, self.part, logits)

    def values(self, *, padded: bool) -> np.ndarray:
        """The gate values, (rows, gates).

        Args:
            padded: False takes the mean over tokens but padding. True does as the code that the authors of UniPELT
                released: rows are padded to the maximum length, and padding counts in the mean.
        """
        length = self._setting.protocol.max_length
        with recording(self.sites) as log, _means(self.sites, masked=not padded):
            self._predict(_padded(self._batches(), length, self.part) if padded else self._batches())
        return in_row_order(self._setting, self.part, log)

    def _batches(self) -> Iterator[Batch]:
        size = self._setting.protocol.eval_batch_size
        return on_device(batches(self.part, size=size), self._setting.device)

    def _predict(self, given: Iterator[Batch]) -> Tensor:
        """The logits, (rows, outputs), in the order of the rows, computed as when the run was scored."""
        return predict(self._setting.classifier, given, protocol=self._setting.protocol)

    def value_frame(self) -> pd.DataFrame:
        """A table with a row for each gate and example, with `value` (padding left out) and `value_padded`."""
        logits = self._setting.logits(self.part)
        values = self.values(padded=False)
        frame = long_frame(self._setting, self.part, self.sites, values, logits, examples=self.rows)
        wide: pd.DataFrame = frame.assign(value_padded=self.values(padded=True).T.ravel())
        return wide

    def effect_frame(self) -> pd.DataFrame:
        """A table with a row for each gate and example: value, contribution, and change in loss when its parts go."""
        import pandas as pd

        whole, changes = removal_effects(self.sites, self.losses)
        values, shares = gate_values(self._setting, self.part, self.sites)[0], self._contributions()
        frames = [
            pd.DataFrame(
                {
                    "example": self.rows,
                    "layer": site.layer,
                    "part": site.part,
                    "value": values[:, index],
                    "contribution": shares[:, index],
                    "loss": whole,
                    "loss_change": changes[:, index],
                }
            )
            for index, site in enumerate(self.sites)
        ]
        return self._named(pd.concat(frames, ignore_index=True))

    def _contributions(self) -> np.ndarray:
        """(rows, gates): the largest contribution among the parts behind a gate."""
        seen = part_contributions(self._setting, [part for site in self.sites for part in site.parts], self.part)
        owners = np.repeat(np.arange(len(self.sites)), [len(site.parts) for site in self.sites])
        return np.stack([seen[:, owners == index].max(axis=1) for index in range(len(self.sites))], axis=1)

    def intervention_frame(self, dev_means: np.ndarray, others: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """A table with a row for each intervention and example: loss, and the score over all rows.

        Args:
            dev_means: (gates,), mean of each gate on the dev rows.
            others: task -> (gates,), the same in the run with the same method and seeds on that task.
        """
        import pandas as pd

        recorded = LearnedGates(
            values=gate_values(self._setting, self.part, self.sites)[0].astype(float),
            dev_means=dev_means,
            layers=[site.layer for site in self.sites],
            parts=[site.part for site in self.sites],
            others=dict(others),
        )
        seed = zlib.crc32(self._setting.spec.digest.encode())
        acting = tables(recorded, np.random.default_rng(seed))
        frames = [self._scored(name, self._acted(values)) for name, values in acting.items()]
        with removed([part for site in self.sites for part in site.parts]):
            frames.append(self._scored(REMOVED, self._setting.logits(self.part)))
        return self._named(pd.concat(frames, ignore_index=True))

    def _acted(self, values: np.ndarray) -> Tensor:
        """The logits with these gate values, (rows, gates), in place of the learned ones."""
        table = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self._setting.device)
        columns = {id(site): index for index, site in enumerate(self.sites)}
        now: list[Tensor] = []  # which rows the batch in the forward pass holds

        def following() -> Iterator[Batch]:
            for batch in self._batches():
                now[:] = [batch.rows.to(table.device)]
                yield batch

        def act(site: GateSite, learned: Tensor) -> Tensor:
            return table[now[0], columns[id(site)]]

        with replaced(self.sites, act):
            return self._predict(following())

    def _scored(self, name: str, logits: Tensor) -> pd.DataFrame:
        import pandas as pd

        score = self._setting.scores(self.part, logits).get(self._setting.headline)
        frame: pd.DataFrame = pd.DataFrame(
            {
                "intervention": name,
                "example": self.rows,
                "loss": self._losses(logits),
                "score": np.nan if score is None else score,
            }
        )
        return frame

    def _named(self, frame: pd.DataFrame) -> pd.DataFrame:
        spec = self._setting.spec
        named: pd.DataFrame = frame.assign(
            task=spec.task.label,
            method=spec.method.label,
            seed=spec.model_seed,
            data_seed=spec.data_seed,
            headline=self._setting.headline,
        )
        return named


def _padded(given: Iterator[Batch], length: int, part: Encoded) -> Iterator[Batch]:
    """Pads batches to `length` tokens, on the side and with the ids of the tokenizer; the added tokens are masked."""
    fill = {"input_ids": part.padding[0], "token_type_ids": part.padding[1]}
    for batch in given:
        inputs = {}
        for name, tensor in batch.inputs.items():
            more = length - tensor.shape[1]
            inputs[name] = functional.pad(tensor, (more, 0) if part.pad_left else (0, more), value=fill.get(name, 0))
        yield Batch(inputs, batch.labels, batch.rows)


@contextmanager
def _means(sites: Sequence[GateSite], *, masked: bool) -> Iterator[None]:
    """Makes the gates average over tokens without padding (masked) or with it, inside the block."""
    means = {site.mean for site in sites}
    before = [(mean, mean.masked) for mean in means]
    for mean in means:
        mean.masked = masked
    try:
        yield
    finally:
        for mean, was in before:
            mean.masked = was


@dataclass(frozen=True)
class StudiedRun:
    """One studied run and its tables.

    Attributes:
        record: the run.
        files: paths of the tables `values`, `effects` and `acts`, as parquet.
        now: whether it was studied now; False where its tables existed already.
    """

    record: Record
    files: dict[str, Path]
    now: bool


def study_runs(out: Path, records: Sequence[Record], *, examples: int) -> Iterator[StudiedRun]:
    """Studies each run, and writes its tables to `OUT/gates/runs`; runs whose tables are up to date are not repeated.

    Args:
        out: the comparison's folder.
        records: gated runs of one method, at one K, model and protocol.
        examples: number of test rows to sample.

    Raises:
        UserError: a file of a run is damaged.
    """
    folder = out / "gates" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    means = {record.digest: _dev_means(_recorded(out, record)) for record in records}
    for record in records:
        others = [other for other in records if _on_another_task(other, record)]
        files = _files(folder, record, others, examples)
        sources = [weights_path(out, record.digest), *(gates_path(out, one.digest) for one in (record, *others))]
        if _fresh(files, sources):
            yield StudiedRun(record, files, now=False)
            continue
        gates = GateStudy(trained_setting(out, record), examples)
        order = [(site.layer, site.part) for site in gates.sites]
        by_task = {r.asked.task.label: means[r.digest].reindex(order).to_numpy() for r in (record, *others)}
        dev_means = by_task.pop(record.asked.task.label)
        frames = {
            "values": gates.value_frame(),
            "effects": gates.effect_frame(),
            "acts": gates.intervention_frame(dev_means, by_task),
        }
        for name, frame in frames.items():
            # Renamed when complete, so that an interrupted study leaves no half table.
            temporary = files[name].with_suffix(".tmp")
            frame.to_parquet(temporary)
            temporary.replace(files[name])
        yield StudiedRun(record, files, now=True)


def _on_another_task(other: Record, record: Record) -> bool:
    """Whether `other` has the same seeds as `record`, on another task."""
    seeds = [(r.asked.data_seed, r.asked.model_seed) for r in (other, record)]
    return seeds[0] == seeds[1] and other.asked.task != record.asked.task


def _files(folder: Path, record: Record, others: Sequence[Record], examples: int) -> dict[str, Path]:
    """The paths of the tables of a run; the names hold a digest of everything that the tables depend on."""
    made_from = [FORM, ROWS_SEED, examples, sorted(other.digest for other in others)]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:8]
    return {name: folder / f"{record.digest}.{key}.{name}.parquet" for name in ("values", "effects", "acts")}


def _fresh(files: dict[str, Path], sources: Sequence[Path]) -> bool:
    """Whether all tables exist and are no older than the files that they are made from."""
    made = max(source.stat().st_mtime for source in sources)
    return all(path.exists() and path.stat().st_mtime >= made for path in files.values())


def _recorded(out: Path, record: Record) -> pd.DataFrame:
    """The gate values that the run recorded: columns split, layer, part and value.

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
    """The mean of each gate on the dev rows (the test rows where there are none), by (layer, part)."""
    dev = gates[gates["split"] == "dev"]
    means: pd.Series[float] = (gates if dev.empty else dev).groupby(["layer", "part"])["value"].mean()
    return means
