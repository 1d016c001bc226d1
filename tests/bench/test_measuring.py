"""No measurement changes what is scored or stored."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bench import run
from bench.costs.sheet import ELSEWHERE, UNMEASURED, CostSheet, prepared_meters
from bench.errors import AlteredError
from bench.grid import worker
from bench.grid.executors.executor import Executor
from bench.meters.clock import Clock
from bench.meters.cuda import Cuda
from bench.meters.instruments.live_tensors import LiveTensors
from bench.meters.meter import Observed
from bench.meters.phases import Phases
from bench.records.spec import Job, Measures
from bench.records.store import RecordFolder, load_outputs, read_record, record_path, weights_path
from bench.run import execute, fingerprint, refuse_altered, run_training
from bench.training.loop import train
from bench.training.prepared import Setting, prepare
from bench.training.warmup import _throw_away, share_frozen, warm_up_inference, warm_up_training
from tests.conftest import MakeSpec, run_one

BARE = Measures(costs=False, energy=False, effective=False, weights="all")
COSTS = BARE.model_copy(update={"costs": True})

SPARSE = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from torch import nn
from bench import Method

class Sparse(nn.Module):
    # A product whose gradient steps through a sparse tensor, which has no storage to measure.
    def __init__(self, base):
        super().__init__()
        self.base, self.weight = base, nn.Parameter(torch.zeros(base.in_features))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen += 1
        places = torch.arange(len(self.weight)).repeat(2, 1)
        square = torch.sparse_coo_tensor(places, self.weight, (len(self.weight),) * 2, check_invariants=False)
        rows = x.reshape(-1, x.shape[-1])
        return self.base(x + torch.sparse.mm(square, rows.t()).t().reshape(x.shape))

@dataclass(frozen=True, kw_only=True)
class Mine(Method):
    name: ClassVar[str] = "mine"
    learning_rate: float = 0.05

    def adapt(self, model):
        for layer in model.encoder.layer:
            layer.attention.self.query = Sparse(layer.attention.self.query)
            layer.attention.self.query.weight = layer.attention.self.query.weight
"""

ALTERING = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Altering(Method):
    name: ClassVar[str] = "altering"
    dies: bool = False

    def adapt(self, model):
        model.get_input_embeddings().weight.requires_grad_(True)

    thaws: ClassVar[bool] = True

    def idle(self, model, pretrained, run):
        if self.dies:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        with torch.no_grad():
            model.get_input_embeddings().weight[0] += 1
        return {}
"""


def written(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name.lower()}.py"
    path.write_text(text)
    return f"{path}:{name}"


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's, of what peft does
@pytest.mark.parametrize("method", ["peft:frod", "peft:shira[r=2]", "mine", "full", "unipelt"])
def test_costs_change_neither_scores_nor_weights(method: str, make_spec: MakeSpec, tmp_path: Path) -> None:
    """Some of these have a sparse tensor, on which the memory meter raises at the second of two optimizer steps."""
    spec = make_spec(written(tmp_path, "Mine", SPARSE) if method == "mine" else method)
    bare, measured = execute(spec, measures=BARE), execute(spec, measures=COSTS)
    assert np.array_equal(bare.outputs["logits"], measured.outputs["logits"])
    assert bare.record.result is not None
    assert measured.record.result is not None
    assert bare.record.result.test_scores == measured.record.result.test_scores
    assert bare.weights is not None
    assert measured.weights is not None
    assert bare.weights.keys() == measured.weights.keys()
    assert all(torch.equal(value, measured.weights[name]) for name, value in bare.weights.items())
    costs = measured.record.result.costs
    assert costs is not None
    assert not costs.absent.keys() & costs.figures.keys(), "absent, or there"
    assert costs.figures["train_flops"]
    assert ("train_live_bytes" not in costs.figures) == (method in ("peft:frod", "peft:shira[r=2]", "mine"))


def test_what_is_trained_for_its_costs_is_thrown_away(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """No optimizer step of a cost pass is taken on a tensor of the scored classifier."""
    setting = prepare(make_spec("lora"))
    training = run_training(setting, phases=Phases(Clock()))
    theirs = {tensor.data_ptr() for tensor in setting.classifier.state_dict().values()}
    stepped: list[int] = []
    step = torch.optim.AdamW.step

    def spied(self: torch.optim.AdamW, closure: Any = None) -> Any:
        stepped.extend(p.data_ptr() for group in self.param_groups for p in group["params"])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spied)
    CostSheet(setting, training.shapes, meters=prepared_meters(COSTS, device="cpu")).measure_training()
    assert stepped
    assert not theirs & set(stepped)


def test_a_measurement_that_changes_the_trained_model_fails_the_run(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(written(tmp_path, "Altering", ALTERING))
    kept: list[run.Outcome] = []
    with pytest.raises(AlteredError, match=r"changed 1 tensors of the trained model, backbone\..*word_embeddings"):
        execute(spec, measures=BARE.model_copy(update={"effective": True}), keep=kept.append)
    assert np.array_equal(kept[0].outputs["logits"], execute(spec, measures=BARE).outputs["logits"])
    record = worker.work(Job(run=spec, measures=BARE.model_copy(update={"effective": True})), tmp_path)
    assert record.status == "failed"
    assert record.traceback is None
    assert (record.reason or "").startswith("measuring its costs changed 1 tensors of the trained model")
    assert read_record(record_path(tmp_path, spec.digest)) == record


def test_one_bit_is_another_fingerprint() -> None:
    model: Any = torch.nn.BatchNorm1d(3)
    before = fingerprint(model)
    assert before.keys() == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    refuse_altered(before, fingerprint(model))
    with torch.no_grad():
        model.running_var[1] = torch.nextafter(model.running_var[1], torch.tensor(9.0))
    with pytest.raises(AlteredError, match="changed 1 tensors of the trained model, running_var first"):
        refuse_altered(before, fingerprint(model))


def test_a_child_killed_while_it_measures_leaves_its_scores(
    make_spec: MakeSpec, tmp_path: Path, executor: Executor
) -> None:
    spec = make_spec(f"{written(tmp_path, 'Altering', ALTERING)}[dies=true]")
    measures = COSTS.model_copy(update={"effective": True, "resident": False})
    record = run_one(executor, spec, tmp_path, measures)
    assert record == read_record(record_path(tmp_path, spec.digest))
    assert (record.status, record.complete) == ("ok", False)
    assert record.reason == "the process was killed by SIGKILL, probably for want of memory"
    assert record.result is not None
    bare = execute(spec, measures=BARE)
    assert bare.record.result is not None
    assert record.result.test_scores == bare.record.result.test_scores
    assert np.array_equal(load_outputs(tmp_path, spec.digest)["logits"], bare.outputs["logits"])
    assert (bare.weights or {}).keys() == load_file(weights_path(tmp_path, spec.digest)).keys()
    costs = record.result.costs
    assert costs is not None
    assert costs.absent["train_flops"] == costs.absent["effective"] == UNMEASURED
    assert costs.figures["stored_bytes"] > 0
    assert RecordFolder(tmp_path).finished(measures) == set()
    assert RecordFolder(tmp_path).finished(BARE) == {spec.digest}


@pytest.mark.parametrize(
    ("first", "resident", "reason"),
    [
        (True, True, "the child process that measures it has not run"),
        (True, False, "not asked for"),
        (False, True, ELSEWHERE),
        (False, False, "not asked for"),
    ],
)
def test_the_reason_for_no_resident_peak_is_true(first: bool, resident: bool, reason: str, make_spec: MakeSpec) -> None:
    found = execute(make_spec(), measures=COSTS.model_copy(update={"resident": resident}), first=first).record.result
    assert found is not None
    assert found.costs is not None
    assert found.costs.absent["resident_peak_bytes"] == reason
    assert (found.costs.absent.get("train_flops") == ELSEWHERE) is not first
    assert found.costs.counted is first


STATEFUL = """
import random
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
import torch
from torch import nn
from bench import Method

class Counted(nn.Module):
    # Drops out, and keeps a running mean, a buffer that it replaces and a number of its own. It changes a list, a dict,
    # a plain tensor and a frozen parameter in place, and draws from every source of random numbers.
    def __init__(self, width):
        super().__init__()
        self.norm, self.drop, self.calls = nn.BatchNorm1d(width), nn.Dropout(0.3), 0
        self.scale = nn.Parameter(torch.ones(width))
        self.register_buffer("steps", torch.zeros(()))
        self.seen, self.sums, self.plain = [], {"rows": 0}, torch.zeros(())
        self.frozen = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, module, args, output):
        if self.training:
            self.calls += 1
            self.steps = self.steps + 1
        self.seen.append(len(output))
        self.sums["rows"] += len(output)
        self.plain += 1
        self.frozen.data += 1
        own = len(self.seen) + self.sums["rows"] + self.plain + self.frozen + random.random() + np.random.rand()
        shift = self.norm(output.reshape(-1, output.shape[-1])).reshape(output.shape)
        return output + self.drop(self.scale * shift) / (1 + self.calls + self.steps + own)

@dataclass(frozen=True, kw_only=True)
class Stateful(Method):
    name: ClassVar[str] = "stateful"
    learning_rate: float = 0.01

    def __post_init__(self):
        object.__setattr__(self, "counts", [])

    def penalty(self, model):
        self.counts.append(1)
        return 0.001 * len(self.counts) * model.encoder.layer[0].own.scale.square().sum()

    def adapt(self, model):
        for layer in model.encoder.layer:
            layer.own = Counted(model.config.hidden_size)
            layer.attention.self.value.register_forward_hook(layer.own.forward)
"""


@pytest.mark.parametrize("method", ["stateful", "full", "unipelt[gate=hard,sparsity=0.1]", "prefix"])
def test_a_warm_up_leaves_no_trace(method: str, make_spec: MakeSpec, tmp_path: Path) -> None:
    """The same training to the bit with and without it, with dropout, running means and counters."""
    spec = make_spec(written(tmp_path, "Stateful", STATEFUL) if method == "stateful" else method)

    def trained(before: Callable[[Setting], None], after: Callable[[Setting], None]) -> tuple[Any, Any]:
        setting = prepare(spec)
        random.seed(0)
        np.random.seed(0)
        before(setting)
        drawn = torch.random.get_rng_state()
        warm = fingerprint(setting.classifier)
        training = run_training(setting, phases=Phases(Clock()))
        after(setting)
        states = (drawn.tolist(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
        counts = len(getattr(setting.method, "counts", ()))
        known = (training.curve, states, counts, warm, fingerprint(setting.classifier))
        return known, setting.logits(setting.test)

    # The first training of a process may differ from any later one in a sum's last bit, warmed up or not.
    trained(lambda setting: None, lambda setting: None)
    bare, logits = trained(lambda setting: None, lambda setting: None)
    warmed, others = trained(warm_up_training, warm_up_inference)
    assert warmed == bare
    assert torch.equal(logits, others)
    assert method != "stateful" or warmed[2] == 6, "a step each, and none of the warm-up"


def test_a_warm_up_frees_its_classifier_and_shares_what_is_frozen(make_spec: MakeSpec) -> None:
    setting = prepare(make_spec("lora"))
    made: list[weakref.ref[Any]] = []

    def seen(fresh: Setting) -> None:
        made.extend(weakref.ref(parameter) for parameter in fresh.classifier.parameters())
        share_frozen(fresh.classifier, setting.classifier)
        theirs = {p.data_ptr() for p in setting.classifier.parameters()}
        shared = {p.data_ptr() in theirs for p in fresh.classifier.parameters() if not p.requires_grad}
        assert shared == {True}
        assert not any(p.data_ptr() in theirs for p in fresh.classifier.parameters() if p.requires_grad)

    _throw_away(setting, seen)
    assert made
    assert not any(parameter() is not None for parameter in made)


class HostFree(LiveTensors):
    """Peaks of live tensors as a GPU's allocator would see them: without what the loop keeps on the host."""

    highest = 0
    """Of all, what the resets forget included."""

    def _change(self, number: int, change: int) -> None:
        super()._change(number, change)
        self.highest = max(self.highest, self._live)

    def reset(self) -> None:
        self._peak = self._live

    def allocated(self) -> int:
        return self._peak

    def reserved(self) -> int:
        return self._peak


@pytest.mark.parametrize("method", ["head", "lora", "full"])
def test_peaks_are_those_of_the_training_steps(
    method: str, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation on batches of 64 and the checkpoint's copy would raise them.

    Live tensors stand for a GPU's allocator, and arrays of numpy for the memory of the host.
    """
    from bench.training import loop

    monkeypatch.setattr(loop, "snapshot", lambda tensors: {n: t.detach().numpy().copy() for n, t in tensors.items()})
    monkeypatch.setattr(loop, "overwrite", _through_numpy)

    def peak(**protocol: Any) -> int:
        setting = prepare(make_spec(method, k=16, batch_size=4, eval_batch_size=64, dev=64, epochs=2, **protocol))
        with HostFree(setting.classifier) as source:
            meter = Cuda(source)
            run_training(setting, phases=Phases(Clock(), [meter]))
        found = meter.observed(Observed("train", 1.0, 16))["cuda_allocated_bytes"]
        assert isinstance(found, int)
        if method == "head":  # the others' steps hold more than its batches of 64 do
            assert found < source.highest
        return found

    def steps_alone() -> int:
        order = torch.Generator().manual_seed(0)
        setting = prepare(make_spec(method, k=16, batch_size=4, eval_batch_size=64, dev=64, epochs=2))
        with HostFree(setting.classifier) as source:
            train(
                setting.classifier,
                setting.method,
                loss_of=setting.kind.loss,
                protocol=setting.protocol,
                epoch_batches=lambda epoch: setting.train_batches(order),
                steps_per_epoch=4,
                evaluate=None,
                headline="accuracy",
                clock=Clock(),
            )
        return source.highest

    assert peak() == pytest.approx(steps_alone(), rel=0.01)


def _through_numpy(target: dict[str, Any], source: dict[str, Any]) -> None:
    with torch.no_grad():
        for name, tensor in target.items():
            if isinstance(tensor, np.ndarray):
                tensor[...] = source[name].detach().numpy()
            else:
                tensor.copy_(torch.from_numpy(source[name]))


def test_dev_logits_that_are_not_finite_lose_to_an_earlier_checkpoint(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("lora", epochs=3)
    logits, looks = Setting.logits, 0

    def later_bad(self: Setting, part: Any) -> torch.Tensor:
        nonlocal looks
        found = logits(self, part).clone()
        if part is self.dev:
            looks += 1
            if looks > 1:
                found[0, 0] = torch.inf
        return found

    monkeypatch.setattr(Setting, "logits", later_bad)
    found = execute(spec, measures=BARE).record.result
    assert found is not None
    assert found.best_epoch == 1
    assert [bool(point.scores) for point in found.curve] == [True, False, False]
    monkeypatch.setattr(Setting, "logits", logits)
    alone = execute(make_spec("lora", epochs=3, patience=1), measures=BARE).record.result
    assert alone is not None
    assert alone.curve[0] == found.curve[0]
