"""What one trained model's gates do: values under both means, contributions, removals, interventions."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.encoding import Batch, Encoded, batches
from bench.gating.effective import removal_effects
from bench.gating.gates import GateSite, recording, removed, replaced
from bench.gating.interventions import Recorded, tables
from bench.gating.measure import all_sites, gate_values, in_row_order, long_frame, losses, part_contributions
from bench.loop import predict
from bench.setting import Setting, on_device

if TYPE_CHECKING:
    import pandas as pd

REMOVED = "removed"
"""The intervention that takes every gated part out instead of setting gates."""
ROWS_SEED = 0
"""Of the draw of test rows: the same rows in every run of a task."""


def drawn_rows(rows: int, examples: int) -> np.ndarray:
    """Which of so many test rows are looked at, in rising order; all where there are no more than `examples`."""
    order = np.argsort(np.random.PCG64(ROWS_SEED).random_raw(rows), kind="stable")
    return np.sort(order[:examples])


class GateStudy:
    """Measures one trained classifier on a sample of its test rows.

    Args:
        setting: as `trained_setting` gives it.
        examples: how many test rows; all if there are fewer.
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
        """The gates under the mean over tokens, (rows, gates).

        `padded`: under the released code's mean, over rows padded to the protocol's longest length.
        """
        length = self._setting.protocol.max_length
        with recording(self.sites) as log, _means(self.sites, masked=not padded):
            self._predict(_padded(self._batches(), length, self.part) if padded else self._batches())
        return in_row_order(self._setting, self.part, log)

    def _batches(self) -> Iterator[Batch]:
        size = self._setting.protocol.eval_batch_size
        return on_device(batches(self.part, size=size), self._setting.device)

    def _predict(self, found: Iterator[Batch]) -> Tensor:
        """(rows, outputs) in the rows' order, computed as the run was scored."""
        return predict(self._setting.classifier, found, protocol=self._setting.protocol)

    def value_frame(self) -> pd.DataFrame:
        """A row for each gate and example, with `value` (masked mean) and `value_padded`."""
        logits = self._setting.logits(self.part)
        values = self.values(padded=False)
        frame = long_frame(self._setting, self.part, self.sites, values, logits, examples=self.rows)
        wide: pd.DataFrame = frame.assign(value_padded=self.values(padded=True).T.ravel())
        return wide

    def effect_frame(self) -> pd.DataFrame:
        """A row for each gate and example: the gate's value, its parts' contribution, the loss change on removal."""
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
        """A row for each intervention and example: loss, and the score over all rows.

        Args:
            dev_means: (gates,), the gates' means on the dev rows.
            others: task -> (gates,), the same of the run with the same method and seeds on another task.
        """
        import pandas as pd

        recorded = Recorded(
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
        """Logits with these values, (rows, gates), in place of the learned ones."""
        table = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self._setting.device)
        columns = {id(site): index for index, site in enumerate(self.sites)}
        now: list[Tensor] = []

        def following() -> Iterator[Batch]:
            for batch in self._batches():
                now[:] = [batch.rows.to(table.device)]
                yield batch

        def act(site: GateSite, own: Tensor) -> Tensor:
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


def _padded(found: Iterator[Batch], length: int, part: Encoded) -> Iterator[Batch]:
    """Batches padded to `length` tokens as the tokenizer pads; the mask says so."""
    fill = {"input_ids": part.padding[0], "token_type_ids": part.padding[1]}
    for batch in found:
        inputs = {}
        for name, tensor in batch.inputs.items():
            more = length - tensor.shape[1]
            inputs[name] = functional.pad(tensor, (more, 0) if part.pad_left else (0, more), value=fill.get(name, 0))
        yield Batch(inputs, batch.labels, batch.rows)


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
        for mean, was in before:
            mean.masked = was
