"""A compact model gives the run's logits within the stated bound, is smaller, and loads again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.errors import UserError
from bench.grid.worker import work
from bench.parts.compaction import compact, record_of
from bench.parts.deployment import load, make_plan
from bench.parts.trained import trained_setting
from bench.records.spec import Job, Measures
from bench.records.store import Record, record_path, weights_path
from bench.training.prepared import Setting
from methods.kit.base import Classifier
from tests.conftest import bench, tiny_spec

QUICK = Measures(costs=False, energy=False, effective=False)


def finished(out: Path, method: str = "unipelt[hidden=8,length=3,bottleneck=4,r=2]") -> Record:
    record = work(Job(run=tiny_spec(method, epochs=3), measures=QUICK), out)
    assert record.status == "ok", record.reason
    return record


def logits(classifier: torch.nn.Module) -> torch.Tensor:
    ids = torch.randint(5, 50, (4, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: torch.Tensor = classifier(input_ids=ids, attention_mask=torch.ones_like(ids))
    return found.clone()


def setting_logits(classifier: Classifier, setting: Setting) -> torch.Tensor:
    """Another classifier's logits on the setting's dev rows."""
    return replace(setting, classifier=classifier).logits(setting.dev)


def test_a_run_comes_back_as_it_was_scored(tmp_path: Path) -> None:
    record = finished(tmp_path)
    setting = trained_setting(tmp_path, record)
    assert record.result is not None
    assert setting.headline_score(setting.test) == record.result.test_scores[record.result.headline]


def test_what_is_dropped_is_gone_and_the_rest_unchanged(tmp_path: Path) -> None:
    record = finished(tmp_path)
    found = compact(tmp_path, record, tmp_path / "c", epsilon=0.5, tolerance=0.0, rounds=4)
    assert found.plan.dropped, "at so large an epsilon something goes"
    assert found.after.parameters < found.before.parameters
    assert found.after.stored_bytes == (tmp_path / "c" / "model.safetensors").stat().st_size
    assert found.after.forward_flops < found.before.forward_flops
    whole = trained_setting(tmp_path, record)
    restores = {part.name: part for part in whole.method.parts_of(whole.classifier.backbone, {})}
    for name in found.plan.dropped:
        restores[name].remove()
    torch.testing.assert_close(logits(load(str(tmp_path / "c"))), logits(whole.classifier), atol=1e-5, rtol=1e-5)


def test_dropping_everything_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = finished(tmp_path, "lora[r=2]")
    path = str(record_path(tmp_path, record.digest))
    assert bench("compact", path, "--epsilon", "1", monkeypatch=monkeypatch) == 0
    assert "warning: every part was dropped" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["unipelt[hidden=0,length=3,bottleneck=4,r=2]", "unipelt[gate=constant,hidden=8]"])
def test_folded_gates_keep_the_logits_within_the_bound(tmp_path: Path, method: str) -> None:
    record = finished(tmp_path, method)
    found = compact(tmp_path, record, tmp_path / "c", epsilon=0.0, tolerance=1.0, rounds=4)
    kept = {part for part in found.plan.folded if part not in found.plan.dropped}
    assert kept == set(found.plan.folded)
    again = load(tmp_path / "c")
    assert not any("gates" in name for name, _ in again.named_parameters()), "all gates were folded"
    whole = trained_setting(tmp_path, record)
    parts = {part.name: part for part in whole.method.parts_of(whole.classifier.backbone, {})}
    stated = float((setting_logits(again, whole) - whole.logits(whole.dev)).abs().max())
    assert stated == pytest.approx(found.largest_change, abs=1e-5), "the loaded model keeps the stated bound"
    for name in found.plan.dropped:
        parts[name].remove()
    if "constant" in method:  # folds exactly
        torch.testing.assert_close(logits(again), logits(whole.classifier), atol=1e-5, rtol=1e-5)


def test_latency_is_waited_for_in_the_runs_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an accelerator calls return before the work is done: both forward passes run inside autocast, then wait."""
    from bench.parts import compaction

    events: list[str] = []

    class Autocast:
        def __enter__(self) -> None:
            events.append("autocast")

        def __exit__(self, *_: object) -> None:
            events.append("done")

    monkeypatch.setattr(compaction, "autocasting", lambda protocol: Autocast)
    monkeypatch.setattr(compaction, "synchronizer", lambda device: lambda: events.append("wait"))
    found = compact(tmp_path, finished(tmp_path), tmp_path / "c", epsilon=0.5, tolerance=0.0, rounds=4)
    assert events == ["wait", "autocast", "done", "wait"] * 2 * (3 + 4), "3 warm-ups and 4 rounds of two"
    assert found.before_time.p50_ms > 0
    assert json.loads((tmp_path / "c" / "measured.json").read_text())["after_time"]["ratio"] == found.after_time.ratio


def test_a_run_without_weights_or_parts_is_refused(tmp_path: Path) -> None:
    record = finished(tmp_path, "head")
    with pytest.raises(UserError, match="no parts"):
        make_plan(trained_setting(tmp_path, record), epsilon=0.0, tolerance=0.0)
    weights_path(tmp_path, record.digest).unlink()
    with pytest.raises(UserError, match="kept no weights"):
        record_of(record_path(tmp_path, record.digest))
    with pytest.raises(UserError, match="no record"):
        record_of(tmp_path / "x.json")
    with pytest.raises(UserError, match="no compact model"):
        load(tmp_path)
    (tmp_path / "compact.json").write_text("{")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="damaged model .* run bench compact again"):
        load(tmp_path)
