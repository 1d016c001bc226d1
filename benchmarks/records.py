"""Made-up records with every figure that a record can hold. Tests of reports and `benchmarks.report` use them.

This module is no benchmark and has no command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.records.spec import MethodSpec, ModelSpec, Protocol, RunSpec, TaskSpec
from bench.records.store import Profile, Record
from bench.tasks import kind_named
from tasks import TASKS as TASK_BY_NAME

BACKBONE = 22_565_376
ALLOCATOR = "glibc 2.36, blocks kept"
_METHODS: dict[str, tuple[float, int, int, float, float]] = {
    # name: score, trained, stored, FLOPs of a training step over full's, activations over full's
    "majority": (0.25, 0, 0, 0.0, 0.0),
    "head": (0.60, 0, 0, 0.33, 0.10),
    "full": (0.74, BACKBONE, BACKBONE, 1.0, 1.0),
    "bitfit": (0.68, 30_336, 30_336, 0.69, 0.72),
    "adapter": (0.76, 302_592, 302_592, 0.61, 0.66),
    "prefix": (0.72, 2_780_000, 46_080, 0.68, 0.74),
    "lora": (0.71, 73_728, 73_728, 0.69, 0.73),
    "unipelt-apl": (0.77, 3_160_000, 427_020, 0.74, 0.92),
}
METHODS = tuple(_METHODS)
TASKS = ("trec", "tweet_valence")
_FULL_FLOPS, _FULL_ACTIVATIONS = 1.6e9, 1.9e8


def records(
    *,
    methods: Sequence[str] = METHODS,
    tasks: Sequence[str] = TASKS,
    ks: Sequence[int | None] = (100,),
    seeds: int = 3,
    models: Sequence[str] = ("minilm-l6",),
    lost: Sequence[tuple[str, str, int]] = (),
    protocol: Protocol | None = None,
    revision: str = "1",
    plain: bool = False,
) -> list[Record]:
    """A grid of runs whose scores and costs follow one made-up law with noise from the run's own names.

    Args:
        methods: labels; those that `METHODS` lacks get middling figures.
        tasks: labels; a shipped task has its kind and headline, any other label stands for classes and accuracy.
        ks: training rows; None: all.
        seeds: how many, counted from 0.
        models: names.
        lost: (method, task, seed) of runs that failed.
        protocol: of all runs.
        revision: of all tasks' data.
        plain: leaves out costs and effective counts, as the earliest records do.
    """
    protocol = protocol or Protocol(dev="k")
    grid = ((m, t, k, s, n) for n in models for k in ks for t in tasks for m in methods for s in range(seeds))
    made = []
    for method, task, k, seed, model in grid:
        asked = RunSpec(
            method=_method(method),
            task=TaskSpec(name=task, label=task, source="shipped", revision=f"{task}-{revision}"),
            model=ModelSpec(name=model, revision="0" * 8),
            k=k,
            data_seed=seed,
            model_seed=seed,
            protocol=protocol,
        )
        failed = (method, task, seed) in lost
        made.append(_record(asked, failed=failed, plain=plain))
    return made


def _method(label: str) -> MethodSpec:
    return MethodSpec(name=label, label=label, source="built-in", fields=fields(label))


def fields(method: str) -> dict[str, Any]:
    """Hyper-parameters of the made-up method."""
    rate = {"full": 1e-4}.get(method.partition("[")[0], 1e-3)
    return {"learning_rate": rate, "r": 8} if method.startswith("lora") else {"learning_rate": rate}


def _record(asked: RunSpec, *, failed: bool, plain: bool) -> Record:
    values: dict[str, Any] = {
        "digest": asked.digest,
        "status": "failed" if failed else "ok",
        "reason": "RuntimeError: loss is not finite at step 12" if failed else None,
        "asked": asked,
        "environment": {
            "python": "3.11.2",
            "platform": "Linux-x86_64",
            "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
            "device": "cpu",
            "device_name": "made-up processor",
            "cpus": 2,
            "threads": 2,
            "allocator": ALLOCATOR,
            "methods_code": "sha256:0123456789abcdef",
        },
        "started_at": "2026-01-01T00:00:00+00:00",
        "wall_time_s": 3.0,
    }
    if not failed:
        values["result"] = _result(asked)
        if plain:
            del values["result"]["costs"], values["result"]["effective"]
    return Record.model_validate(values)


def _result(asked: RunSpec) -> dict[str, Any]:
    base = asked.method.label.partition("[")[0]
    score, trained, stored, step, activations = _METHODS.get(base, (0.7, 50_000, 50_000, 0.7, 0.7))
    generator = np.random.default_rng(int(asked.digest, 16))
    task = TASK_BY_NAME.get(asked.task.label)
    kind = kind_named((task and task.kind) or "classes")
    headline = task.headline_of(kind.name) if task else kind.headline
    k = asked.k or 5_000
    score = float(np.clip(score * (0.8 if kind.numeric else 1) + 0.06 * np.log10(k / 100), 0, 0.99))
    score = float(np.clip(score + generator.normal(0, 0.02), 0, 1))
    drift = float(generator.normal(1, 0.08))
    learns = base != "majority"
    curve = [
        {
            "epoch": e,
            "step": e * 7,
            "train_loss": 1.6 / e,
            "scores": {headline: score * (1 - 0.6 / (e + 0.5))},
        }
        for e in range(1, 11)
    ]
    return {
        "kind": kind.name,
        "headline": headline,
        "test_scores": {headline: score},
        "curve": curve if learns else [],
        "steps": 70 if learns else 0,
        "trained_parameters": trained,
        "stored_parameters": stored,
        "head_parameters": 2_310,
        "backbone_parameters": BACKBONE,
        "train_examples": k,
        "dev_examples": 100,
        "test_examples": 500,
        "train_time_s": 9 * max(step, 0.3) * drift if learns else None,
        "infer_time_s": 1.5 * drift,
        "head_kind": "mean",
        "learning_rate": asked.method.fields["learning_rate"],
        "head_learning_rate": 5e-3,
        "data_digest": hashlib.sha256(f"{asked.task.revision}{k}{asked.data_seed}".encode()).hexdigest(),
        "costs": _costs(stored, step, activations, drift, learns=learns),
        "effective": _effective(stored, base, generator),
    }


def _costs(stored: int, step: float, activations: float, drift: float, *, learns: bool) -> dict[str, Any]:
    own = max(stored, 2_310)
    figures: dict[str, int | float] = {"stored_bytes": 4 * stored + 9_800}
    notes: dict[str, Any] = {}
    if learns:
        parts = {
            "weights": 4.0 * (BACKBONE + (own if stored < BACKBONE else 0)),
            "gradients": 4.0 * own,
            "optimizer": 8.0 * own,
            "activations": _FULL_ACTIVATIONS * activations,
        }
        figures |= {f"train_{name}_bytes": int(value) for name, value in parts.items()}
        figures |= {
            "train_live_bytes": int(sum(parts.values())),
            "train_flops_per_example": _FULL_FLOPS * step,
            "train_flops": _FULL_FLOPS * step * 1000,
            "infer_flops_per_example": _FULL_FLOPS / 3 * (1 + 0.02 * (0 < stored < BACKBONE)),
            "infer_live_bytes": int(4.0 * BACKBONE + 3e7),
            "resident_peak_bytes": int(6e8 + sum(parts.values())),
            "train_examples_per_s": 110 / drift / max(step, 0.3),
            "infer_examples_per_s": 330 / drift,
            "train_energy_estimated_joules": 28.0 * 9 * step * drift,
            "infer_energy_estimated_joules": 28.0 * 1.5 * drift,
        }
        notes = {"energy_detail": {"train": {"cpu": {"joules": 9.0, "source": "estimated"}, "scope": "machine"}}}
    absent = {"train_energy_measured_joules": "no RAPL counter on this machine"}
    return {"figures": figures, "absent": absent, "notes": notes}


def _effective(stored: int, base: str, generator: np.random.Generator) -> dict[str, Any] | None:
    if not stored:
        return None
    gated = base.startswith("unipelt")
    figures: dict[str, Any] = {
        "parts": 18 if gated else 6,
        "part_parameters": stored,
        "soft_parameters": stored * (float(generator.normal(0.5, 0.02)) if gated else 1.0),
        "active_parameters": stored * (0.97 if gated else 1.0),
        "contributing_parameters": stored * 0.9,
        "verified_parameters": int(stored * generator.uniform(0.3, 0.6)),
        "verified_rows": 1000,
        "verified_on": "spare",
        "verified_test_change": float(generator.normal(-0.004, 0.003)),
        "active_curve": [[tau / 10, stored * (1 - tau / 10)] for tau in range(11)],
    }
    return figures | ({"participation_ratio": 15.0} if gated else {})


def profile(model: str = "minilm-l6", methods: Sequence[str] = METHODS, **settings: Any) -> Profile:
    """A made-up profile of the model in the setting of `records`, of which keywords change fields.

    Args:
        model: name.
        methods: labels.
        settings: fields of the profile's setting, such as `threads`; `device_name` and `allocator` too.
    """

    def timed(ratio: float) -> dict[str, Any]:
        ends = {"ratio": ratio, "low": ratio * 0.985, "high": ratio * 1.015}
        return ends | {"p50_ms": 40 * ratio, "p95_ms": 44 * ratio, "rounds": 30, "wide": False}

    rows = {}
    for name in methods:
        _, _, stored, step, _ = _METHODS.get(name.partition("[")[0], (0.7, 1, 1, 0.7, 0.7))
        extra = 1.0 + (0.08 if 0 < stored < BACKBONE else 0.0)
        rows[name] = {
            "train_step": timed(0.2 + 0.8 * step) if step else None,
            "infer": timed(extra),
            "infer_merged": timed(1.0 if name == "lora" else extra),
            "infer_single": timed(extra + 0.1),
            "absent": {} if step else {"train_step": "nothing is trained"},
        }
    setting = {
        "model": model,
        "revision": "0" * 8,
        "head": "mean",
        "outputs": 2,
        "batch": 16,
        "tokens": 24,
        "rounds": 30,
        "threads": 2,
        "device": "cpu",
        "device_name": "made-up processor",
        "precision": "float32",
        "allocator": ALLOCATOR,
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "methods_code": "sha256:0123456789abcdef",
        **settings,
    }
    return Profile.model_validate(
        {name: setting[name] for name in ("model", "batch", "tokens", "rounds", "threads", "device")}
        | {
            "train_reference": "full",
            "infer_reference": "the bare model",
            "environment": {
                "device_name": setting["device_name"],
                "allocator": setting["allocator"],
                "versions": {name: setting[name] for name in ("torch", "transformers")},
            },
            "rows": rows,
            "setting": setting,
            "methods": {name: _method(name) for name in methods},
            "measured_at": "2026-01-01T00:00:00+00:00",
        }
    )


def many(count: int) -> Iterator[Record]:
    """So many records: 8 methods by 25 tasks by 5 sizes, in as many seeds as it takes."""
    tasks = [f"task-{number:02d}" for number in range(25)]
    seeds = -(-count // (len(METHODS) * len(tasks) * 5))
    yield from records(tasks=tasks, ks=(50, 100, 500, 1000, None), seeds=seeds)[:count]
