"""The benchmark against transformers' Trainer times two sides that train the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.grid.worker import work
from bench.records.spec import job_of
from bench.sources.models import fetch_model
from benchmarks.trainer import Outcome, refuse_unlike, spec_of, write_plan
from benchmarks.trainer_peer import run

# peft asks transformers for something by its old name; Trainer pins no memory without a GPU and says so.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def test_both_sides_train_the_same(tmp_path: Path) -> None:
    """Dropout included: the same losses to seven digits, and the same scores."""
    from transformers import AutoModelForSequenceClassification

    tiny, files = fetch_model("tiny"), tmp_path / "model"
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(tiny.config()).save_pretrained(files)
    tiny.tokenizer().save_pretrained(files)
    spec = spec_of(str(files), "synthetic", k=20, epochs=2, threads=1)
    write_plan(spec, tmp_path)
    theirs = Outcome(1.0, **run(tmp_path))
    job = job_of((tmp_path / "job.json").read_text())
    result = work(job, tmp_path / "ours").result  # type: ignore[arg-type]
    assert result is not None
    losses = [point.train_loss for point in result.curve]
    ours = Outcome(
        1.0, result.train_time_s or 0.0, losses, [point.scores["accuracy"] for point in result.curve],
        result.test_scores["accuracy"],
    )  # fmt: skip
    assert losses == pytest.approx(theirs.losses, rel=1e-6)
    assert (ours.dev, ours.test) == (theirs.dev, theirs.test)
    assert theirs.train_s > 0
    refuse_unlike(ours, theirs)
    with pytest.raises(RuntimeError, match="did not train alike"):
        refuse_unlike(ours, replace(theirs, losses=[losses[0], losses[1] + 0.1]))
    steps = sum(map(len, json.loads((tmp_path / "plan.json").read_text())["epochs"]))
    assert steps == result.steps
