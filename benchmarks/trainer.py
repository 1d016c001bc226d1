"""How long does a LoRA run take here, and with peft and transformers' Trainer? Whole processes are timed in turns.

    python -m benchmarks.trainer --model minilm-l6 --task trec --k 100 --rounds 8

Nothing else may run on the machine. It begins no round that would not end within --minutes. A `!` marks an interval
that is too wide to conclude.

Both sides train the same initial values on the same batches in the same order with the same random numbers, score the
dev rows after each epoch, keep the best epoch, and score the test rows. It is checked in every round that both had the
same training losses, dev scores and test score. Ours is the worker's process, `python -m bench.grid.worker`; theirs is
`python -m benchmarks.trainer_peer`, which imports nothing of ours, reads the rows from a small file, and needs to draw
no batches.

whole process: from the start of the process to its end, imports and loading included. training phase: the steps of the
epochs alone, batches and optimizer included, evaluation and saving left out.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import numpy as np
import torch
import transformers
import typer
from safetensors.torch import save_file

from bench.meters.interleave import Ratio, ratios
from bench.records.spec import Job, Measures, Protocol, RunSpec
from bench.records.store import read_record, record_path
from bench.registry.methods import method_of, resolve_method
from bench.registry.tasks import resolve_task
from bench.sources.models import fetch_model
from bench.training.prepared import prepare
from methods.lora import LoRA
from reports.columns.numerals import with_interval
from reports.formats.text import markdown_row

Side = Literal["ours", "theirs"]
SIDES: tuple[Side, Side] = ("ours", "theirs")
ROOT = Path(__file__).resolve().parent.parent
GOAL = 0.9
TOLERANCE = 5e-3
"""Largest difference of a mean loss of an epoch; the order of the sums differs, and training makes it grow."""
SCORES_ALONE = Measures(costs=False, energy=False, effective=False, resident=False, profile=False)


@dataclass(frozen=True)
class Outcome:
    """One run of one side.

    Attributes:
        process_s: seconds of the whole process.
        train_s: seconds of the training steps.
        losses: mean training loss of each epoch.
        dev: score on the dev rows after each epoch.
        test: score on the test rows.
    """

    process_s: float
    train_s: float
    losses: list[float]
    dev: list[float]
    test: float


def spec_of(model: str, task: str, *, k: int, epochs: int, threads: int | None = None) -> RunSpec:
    """The run that both sides do: LoRA with the model's own head, one learning rate, batches of like length."""
    protocol = Protocol(
        dev="k",
        epochs=epochs,
        batch_size=8,
        batches="by-length",
        head="native",
        head_learning_rate=None,
        device="cpu",
        threads=threads,
    )
    return RunSpec(
        method=resolve_method("lora").spec,
        task=resolve_task(task).spec,
        model=fetch_model(model).spec,
        k=k,
        data_seed=0,
        model_seed=0,
        protocol=protocol,
    )


def write_plan(spec: RunSpec, folder: Path) -> None:
    """Writes the files that both sides read: ours a job, theirs rows, batches, settings and initial values.

    Raises:
        ValueError: the model has no files, or the task is not scored by accuracy, all that the other side knows.
    """
    setting = prepare(spec)
    if setting.headline != "accuracy":
        raise ValueError(f"{spec.task.label} is scored by {setting.headline}; take a task that is scored by accuracy")
    files = fetch_model(spec.model.name).folder
    if files is None:
        raise ValueError(f"{spec.model.name} has random weights; take a model with files")
    (folder / "job.json").write_text(Job(run=spec, measures=SCORES_ALONE).model_dump_json(), "utf-8")
    initial = {n: p.detach().contiguous() for n, p in setting.classifier.named_parameters() if p.requires_grad}
    save_file(initial, folder / "initial.safetensors")
    protocol, method = spec.protocol, method_of(spec.method)
    assert isinstance(method, LoRA)
    order = torch.Generator().manual_seed(spec.model_seed)
    epochs = [[batch.rows.tolist() for batch in setting.train_batches(order)] for _ in range(protocol.epochs or 0)]
    plan = {
        "model": str(files),
        "outputs": setting.examples.outputs,
        "lora": {"r": method.r, "lora_alpha": method.alpha},
        "learning_rate": method.learning_rate,
        "warmup_steps": math.ceil(sum(map(len, epochs)) * protocol.warmup_share),
        "max_length": protocol.max_length,
        "batch_size": protocol.batch_size,
        "eval_batch_size": protocol.eval_batch_size,
        "device": setting.device.type,
        "seed": spec.model_seed,
        "epochs": epochs,
    }
    for name in ("train", "dev", "test"):
        rows = getattr(setting.examples, name)
        pairs = [row.pair for row in rows]
        plan[name] = {
            "texts": [row.text for row in rows],
            "pairs": None if None in pairs else pairs,
            "labels": [row.label for row in rows],
        }
    (folder / "plan.json").write_text(json.dumps(plan), "utf-8")


def run_side(side: Side, spec: RunSpec, folder: Path) -> Outcome:
    """Has one side do the run in a process of its own.

    Raises:
        RuntimeError: its process failed.
    """
    words = {
        "ours": ["bench.grid.worker", str(folder / "job.json"), str(folder / "ours")],
        "theirs": ["benchmarks.trainer_peer", str(folder)],
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    if spec.protocol.threads is not None:
        environment["OMP_NUM_THREADS"] = str(spec.protocol.threads)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *words[side]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{side} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    if side == "theirs":
        return Outcome(seconds, **json.loads((folder / "peer.json").read_text("utf-8")))
    result = read_record(record_path(folder / "ours", spec.digest)).result
    assert result is not None
    assert result.train_time_s is not None
    return Outcome(
        seconds,
        result.train_time_s,
        [point.train_loss for point in result.curve],
        [point.scores["accuracy"] for point in result.curve],
        result.test_scores["accuracy"],
    )


def refuse_unlike(ours: Outcome, theirs: Outcome) -> None:
    """Checks that both sides did the same.

    Raises:
        RuntimeError: they did not, so that their times say nothing.
    """
    alike = (
        len(ours.losses) == len(theirs.losses)
        and np.allclose(ours.losses, theirs.losses, rtol=0, atol=TOLERANCE)
        and np.allclose(ours.dev, theirs.dev, rtol=0, atol=0.02)
        and abs(ours.test - theirs.test) <= 0.01
    )
    if not alike:
        raise RuntimeError(f"the two sides did not train alike: nothing to compare\n  ours   {ours}\n  theirs {theirs}")


def measure(spec: RunSpec, *, rounds: int, minutes: float) -> tuple[list[dict[Side, Outcome]], dict[str, Ratio]]:
    """Does the rounds, in each of which both sides take their turn in random order.

    Returns:
        What came out in each round, and the ratios of our time to theirs, of the whole process and of training.
    """
    done: list[dict[Side, Outcome]] = []
    turns = random.Random(0)
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_plan(spec, folder)
        for side in SIDES:  # the first runs read files from the disk: they are checked and not counted
            run_side(side, spec, folder)
        began = time.monotonic()
        while len(done) < rounds and (time.monotonic() - began) * (len(done) + 1) / max(1, len(done)) < 60 * minutes:
            outcomes = {side: run_side(side, spec, folder) for side in turns.sample(SIDES, 2)}
            refuse_unlike(outcomes["ours"], outcomes["theirs"])
            done.append(outcomes)
    found = {}
    for name, field in (("whole process", "process_s"), ("training phase", "train_s")):
        seconds = np.array([[getattr(outcomes[side], field) for side in SIDES] for outcomes in done])
        found[name] = ratios(seconds, SIDES, baseline="theirs", generator=np.random.default_rng(0))["ours"]
    return done, found


def main(
    model: str = "minilm-l6",
    task: str = "trec",
    k: int = 100,
    epochs: int = 3,
    rounds: Annotated[int, typer.Option(help="Of both sides; at most.")] = 10,
    minutes: Annotated[float, typer.Option(help="No round begins that would end later.")] = 6.5,
    threads: Annotated[int | None, typer.Option(help="Of both sides; else as many as the process may use.")] = None,
) -> None:
    """Prints the table."""
    import peft

    spec = spec_of(model, task, k=k, epochs=epochs, threads=threads)
    done, found = measure(spec, rounds=rounds, minutes=minutes)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    shape = f"batch {spec.protocol.batch_size}, K={k}, {epochs} epochs"
    last = done[-1]["ours"]
    print(
        f"lora on {task}, {model}, {shape}, {versions}, {len(done)} rounds; test accuracy {last.test:.3f} on both sides"
    )
    print(markdown_row(["what", "ours s", "Trainer s", "ours / Trainer [95% interval]", "goal"]))
    print(markdown_row(["---"] * 5))
    for (name, ratio), field in zip(found.items(), ("process_s", "train_s"), strict=True):
        ours, theirs = (float(np.median([getattr(o[side], field) for o in done])) for side in SIDES)
        words = with_interval(ratio.ratio, ratio.low, ratio.high) + (" !" if ratio.wide else "")
        print(markdown_row([name, f"{ours:.2f}", f"{theirs:.2f}", words, f"at most {GOAL:.2f}"]))


if __name__ == "__main__":
    typer.run(main)
