"""What a finished run's gates do: values under both means, contributions, removals, interventions.

Works on the weights that the run kept; nothing is trained. One folder of tables a run, so that an
interrupted study goes on where it stopped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.encoding import Batch, Encoded, batches
from bench.errors import UserError
from bench.gating.effective import contributions, removal_effects
from bench.gating.gates import GateSite, recording, removed, replaced
from bench.gating.interventions import Recorded, tables
from bench.gating.measure import all_sites, long_frame, losses
from bench.setting import Setting, on_device, prepare
from bench.store import Record, gates_path, weights_path

if TYPE_CHECKING:
    import pandas as pd

REMOVED = "removed"
"""The intervention that takes every gated part out instead of setting gates."""


def trained_setting(out: Path, record: Record) -> Setting:
    """The run's classifier as it was scored: adapted, ejected, with the weights that the run kept.

    Raises:
        UserError: the run kept no weights.
    """
    from safetensors.torch import load_file

    path = weights_path(out, record.digest)
    if not path.exists():
        raise UserError(f"{path} is not there: {record.asked.title} kept no weights; run it with --weights all")
    setting = prepare(record.asked)
    setting.method.eject(setting.classifier.backbone)
    state = load_file(path, device=str(setting.device))
    own = dict(setting.classifier.named_parameters())
    if set(state) - set(own):
        raise UserError(f"{path} holds other parameters than the method has now; run the comparison anew")
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)
    setting.classifier.eval()
    return setting


class GateStudy:
    """Measures one trained classifier on its first test rows.

    Args:
        setting: as `trained_setting` gives it.
        examples: how many test rows; all if there are fewer.
    """

    def __init__(self, setting: Setting, examples: int) -> None:
        self._setting = setting
        self._rows = min(examples, len(setting.test))
        self.sites = all_sites(setting)
        self._batches = list(self._made())

    def _made(self) -> Iterator[Batch]:
        """The batches of the chosen rows, longest first."""
        size = self._setting.protocol.eval_batch_size
        for batch in on_device(batches(self._setting.test, size=size), self._setting.device):
            keep = batch.rows < self._rows
            if keep.any():
                inputs = {name: tensor[keep] for name, tensor in batch.inputs.items()}
                yield Batch(inputs, batch.labels[keep], batch.rows[keep])

    @property
    def order(self) -> Tensor:
        """(rows,), the row of each example in the order in which they run."""
        return torch.cat([batch.rows for batch in self._batches])

    @torch.inference_mode()
    def logits(self, *, pad_to: int | None = None) -> Tensor:
        """(rows, outputs) in the rows' order; `pad_to` pads every batch to that length."""
        found = []
        for batch in self._batches:
            inputs = batch.inputs if pad_to is None else _padded(batch.inputs, pad_to, self._setting.test)
            found.append(self._setting.classifier(**inputs))
        return self._sorted(torch.cat(found).float().cpu())

    def _sorted(self, values: Tensor) -> Tensor:
        ordered = torch.empty_like(values)
        ordered[self.order] = values
        return ordered

    def losses(self) -> np.ndarray:
        """The loss of each example with the model as it is now, (rows,)."""
        return self._losses(self.logits())

    def _losses(self, logits: Tensor) -> np.ndarray:
        return losses(self._setting, self._part, logits)

    @property
    def _part(self) -> _FirstRows:
        return _FirstRows(self._setting.test.labels[: self._rows])

    def values(self, *, padded: bool = False) -> np.ndarray:
        """The gates, (rows, gates). `padded`: the released code's mean, over rows padded to the longest length."""
        pad_to = self._setting.protocol.max_length if padded else None
        with recording(self.sites) as log, _means(self.sites, masked=not padded):
            self.logits(pad_to=pad_to)
        return self._sorted(log.values()).numpy()

    def value_frame(self) -> pd.DataFrame:
        """A row for each gate and example, with `value` (masked mean) and `value_padded`."""
        with recording(self.sites) as log:
            logits = self.logits()
        values = self._sorted(log.values()).numpy()
        frame = long_frame(self._setting, self._head_of_test(), self.sites, values, logits)
        padded = self.values(padded=True)
        wide: pd.DataFrame = frame.assign(value_padded=padded.T.ravel())
        return wide

    def _head_of_test(self) -> _FirstRows:
        part = self._setting.test
        return _FirstRows(part.labels[: self._rows], part.lengths[: self._rows])

    def effect_frame(self) -> pd.DataFrame:
        """A row for each gate and example: the gate's value, its parts' contribution, the loss change on removal."""
        import pandas as pd

        whole, changes = removal_effects(self.sites, self.losses)
        values, shares = self.values(), self._contributions()
        frames = [
            pd.DataFrame(
                {
                    "example": np.arange(self._rows),
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
        parts = [part for site in self.sites for part in site.parts]
        with torch.inference_mode(), contributions(parts) as log:
            for batch in self._batches:
                log.mask = batch.inputs["attention_mask"]
                self._setting.classifier(**batch.inputs)
        seen = self._sorted(torch.from_numpy(log.values())).numpy()
        owners = np.repeat(np.arange(len(self.sites)), [len(site.parts) for site in self.sites])
        return np.stack([seen[:, owners == index].max(axis=1) for index in range(len(self.sites))], axis=1)

    def intervention_frame(self, dev_means: np.ndarray, others: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """A row for each intervention and example: loss, and the score over all rows."""
        import pandas as pd

        recorded = Recorded(
            values=self.values().astype(float),
            dev_means=dev_means,
            layers=[site.layer for site in self.sites],
            parts=[site.part for site in self.sites],
            others=dict(others),
        )
        seed = zlib.crc32(self._setting.spec.digest.encode())
        acting = tables(recorded, np.random.default_rng(seed))
        frames = [self._scored(name, self._acted(values)) for name, values in acting.items()]
        with removed([part for site in self.sites for part in site.parts]):
            frames.append(self._scored(REMOVED, self.logits()))
        return self._named(pd.concat(frames, ignore_index=True))

    def _acted(self, values: np.ndarray) -> Tensor:
        """Logits with these values, (rows, gates), in place of the learned ones."""
        table = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self._setting.device)
        columns = {id(site): index for index, site in enumerate(self.sites)}
        now: list[Tensor] = []

        def act(site: GateSite, own: Tensor) -> Tensor:
            return table[now[-1], columns[id(site)]]

        found = []
        with torch.inference_mode(), replaced(self.sites, act):
            for batch in self._batches:
                now.append(batch.rows)
                found.append(self._setting.classifier(**batch.inputs))
        return self._sorted(torch.cat(found).float().cpu())

    def _scored(self, name: str, logits: Tensor) -> pd.DataFrame:
        import pandas as pd

        score = self._setting.scores(self._part, logits).get(self._setting.headline)
        frame: pd.DataFrame = pd.DataFrame(
            {
                "intervention": name,
                "example": np.arange(self._rows),
                "loss": self._losses(logits),
                "score": np.nan if score is None else score,
            }
        )
        return frame

    def _named(self, frame: pd.DataFrame) -> pd.DataFrame:
        spec = self._setting.spec
        named: pd.DataFrame = frame.assign(
            task=spec.task.label, method=spec.method.label, seed=spec.model_seed, headline=self._setting.headline
        )
        return named


class _FirstRows:
    """The labels (and lengths) of some rows, as `Encoded` has them."""

    def __init__(self, labels: Tensor, lengths: np.ndarray | None = None) -> None:
        self.labels = labels
        self.lengths = np.zeros(len(labels), np.int64) if lengths is None else lengths

    def __len__(self) -> int:
        return len(self.labels)


def _padded(inputs: Mapping[str, Tensor], length: int, part: Encoded) -> dict[str, Tensor]:
    """Inputs padded to `length` tokens as the tokenizer pads; the mask says so."""
    fill = {"input_ids": part.padding[0], "token_type_ids": part.padding[1]}
    return {
        name: functional.pad(
            tensor,
            (length - tensor.shape[1], 0) if part.pad_left else (0, length - tensor.shape[1]),
            value=fill.get(name, 0),
        )
        for name, tensor in inputs.items()
    }


@contextmanager
def _means(sites: Sequence[GateSite], *, masked: bool) -> Iterator[None]:
    """Makes the gates take the mean over tokens, or over padding too, inside the block."""
    means = {id(site.reader.reading.mean): site.reader.reading.mean for site in sites}.values()
    before = [(mean, mean.masked) for mean in means]
    for mean in means:
        mean.masked = masked
    try:
        yield
    finally:
        for mean, old in before:
            mean.masked = old


def study(out: Path, records: Sequence[Record], *, examples: int) -> Iterator[tuple[Record, bool]]:
    """Studies each run, and keeps its tables under `OUT/gates/runs`.

    Args:
        out: the comparison's folder.
        records: gated runs of one method.
        examples: test rows looked at in each run.

    Yields:
        Each record, and whether it was studied now (else it was there).
    """
    import pandas as pd

    folder = out / "gates" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    means = {record.digest: _dev_means(pd.read_parquet(gates_path(out, record.digest))) for record in records}
    for record in records:
        paths = {name: folder / f"{record.digest}.{examples}.{name}.parquet" for name in ("values", "effects", "acts")}
        if all(path.exists() for path in paths.values()):
            yield record, False
            continue
        gates = GateStudy(trained_setting(out, record), examples)
        order = [(site.layer, site.part) for site in gates.sites]
        others = {
            other.asked.task.label: means[other.digest].loc[order].to_numpy()
            for other in records
            if other.asked.task != record.asked.task and other.asked.model_seed == record.asked.model_seed
        }
        frames = {
            "values": gates.value_frame(),
            "effects": gates.effect_frame(),
            "acts": gates.intervention_frame(means[record.digest].loc[order].to_numpy(), others),
        }
        for name, frame in frames.items():
            temporary = paths[name].with_suffix(".tmp")
            frame.to_parquet(temporary)
            temporary.replace(paths[name])
        yield record, True


def _dev_means(gates: pd.DataFrame) -> pd.Series[float]:
    """Each gate's mean on the dev rows (the test rows where there are none), by (layer, part)."""
    dev = gates[gates["split"] == "dev"]
    means: pd.Series[float] = (gates if dev.empty else dev).groupby(["layer", "part"])["value"].mean()
    return means
