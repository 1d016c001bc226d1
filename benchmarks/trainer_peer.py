"""A LoRA run by peft and transformers' Trainer alone: what `benchmarks.trainer` times ours against.

    python -m benchmarks.trainer_peer FOLDER

It imports nothing of ours. FOLDER holds what `benchmarks.trainer` writes: `plan.json`, and `initial.safetensors`, the
values that training starts from. What came out is written there as `peer.json`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)


class PlannedBatches:
    """The rows of each batch as planned; each pass over it is the next epoch."""

    def __init__(self, epochs: list[list[list[int]]]) -> None:
        self._epochs, self._next = epochs, 0

    def __len__(self) -> int:
        return len(self._epochs[0])

    def __iter__(self) -> Iterator[list[int]]:
        rows = self._epochs[self._next]
        self._next += 1
        return iter(rows)


class PlannedTrainer(Trainer):
    """Trains on planned batches. The order of rows is drawn in the plan, so that it costs nothing here."""

    planned: list[list[list[int]]]

    def get_train_dataloader(self) -> Any:
        # A generator of its own: else each iterator draws a number of those that dropout is to draw.
        return DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=PlannedBatches(self.planned),
            collate_fn=self.data_collator,
            generator=torch.Generator(),
        )


class Stopwatch(TrainerCallback):
    """Adds up the seconds of the epochs' steps. Evaluation and saving follow the end of an epoch, and do not count."""

    def __init__(self, seed: int) -> None:
        self.seconds, self._since = 0.0, 0.0
        torch.manual_seed(seed)
        self._random = torch.get_rng_state()

    def on_epoch_begin(self, *arguments: Any, **named: Any) -> None:
        torch.set_rng_state(self._random)  # an evaluation may have drawn
        self._since = time.perf_counter()

    def on_epoch_end(self, *arguments: Any, **named: Any) -> None:
        self.seconds += time.perf_counter() - self._since
        self._random = torch.get_rng_state()


def start_from(model: nn.Module, values: dict[str, torch.Tensor], prefix: str) -> None:
    """Copies the initial values of the updates and of the head, which have our names, into peft's places."""
    for name, value in values.items():
        place, _, rest = name.partition(".")
        if place == "backbone":
            path = f"base_model.model.{prefix}.{rest}.default.weight"
        else:
            module, _, parameter = rest.partition(".")
            path = f"base_model.model.{module}.modules_to_save.default.{parameter}"
        model.get_parameter(path).data.copy_(value)


def accuracy(prediction: Any) -> dict[str, float]:
    """The share of rows whose largest logit is that of their class."""
    return {"accuracy": float((np.argmax(prediction.predictions, axis=1) == prediction.label_ids).mean())}


def run(folder: Path) -> dict[str, Any]:
    """Trains, chooses the best epoch on the dev rows, and scores the test rows; gives what came out."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(plan["model"], local_files_only=True)

    def encoded(part: str) -> list[dict[str, Any]]:
        rows = tokenizer(plan[part]["texts"], plan[part]["pairs"], truncation=True, max_length=plan["max_length"])
        lists = {**rows, "labels": plan[part]["labels"]}
        return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]

    base = AutoModelForSequenceClassification.from_pretrained(
        plan["model"],
        num_labels=plan["outputs"],
        dtype=torch.float32,
        local_files_only=True,
        ignore_mismatched_sizes=True,
    )
    config = LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], lora_dropout=0.0, **plan["lora"])
    model: Any = get_peft_model(base, config)
    start_from(model, load_file(folder / "initial.safetensors"), base.base_model_prefix)
    watch = Stopwatch(plan["seed"])
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        use_cpu=plan["device"] == "cpu",
        num_train_epochs=len(plan["epochs"]),
        per_device_train_batch_size=plan["batch_size"],
        per_device_eval_batch_size=plan["eval_batch_size"],
        optim="adamw_torch_fused",
        learning_rate=plan["learning_rate"],
        weight_decay=0.0,
        max_grad_norm=0.0,
        lr_scheduler_type="linear",
        warmup_steps=plan["warmup_steps"],
        eval_strategy="epoch",
        save_strategy="epoch",
        save_only_model=True,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        greater_is_better=True,
        logging_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = PlannedTrainer(
        model=model,
        args=arguments,
        train_dataset=encoded("train"),
        eval_dataset=encoded("dev"),
        processing_class=tokenizer,
        compute_metrics=accuracy,
        callbacks=[watch],
    )
    trainer.planned = plan["epochs"]
    trainer.train()
    test: dict[str, float] = trainer.predict(encoded("test")).metrics or {}  # type: ignore[arg-type]
    history = trainer.state.log_history
    return {
        "train_s": watch.seconds,
        "losses": [entry["loss"] for entry in history if "loss" in entry],
        "dev": [entry["eval_accuracy"] for entry in history if "eval_accuracy" in entry],
        "test": test["test_accuracy"],
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "peer.json").write_text(json.dumps(run(place)), "utf-8")
