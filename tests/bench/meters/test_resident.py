import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from bench.meters import allocator, resident
from bench.meters.resident import ResidentPeak, tune_malloc

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
ROOT = Path(__file__).resolve().parents[3]

CHILD = """
from bench.meters.resident import ResidentPeak, tune_malloc
tuned = tune_malloc()
import json, torch
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(4)])
optimizer = torch.optim.AdamW(model.parameters())
with ResidentPeak() as meter:
    for _ in range(2):
        model(torch.ones(1024, 512)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
print(json.dumps([tuned.tuned, meter.figures.start_bytes, meter.figures.peak_bytes]))
"""


def child():
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@LINUX
def test_the_peak_of_one_run_repeats_in_two_processes():
    (tuned, _, first), (_, start, second) = child(), child()
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc's malloc can be tuned")
    assert tuned
    assert second == pytest.approx(first, rel=0.01)
    assert second - start > 5 * 1024 * 512 * 4  # the activations of four layers, and their gradient


@LINUX
def test_the_mark_is_the_phases_own_and_a_block_that_raises_is_reported():
    size = 64 * 2**20
    big = bytearray(b"x") * (4 * size)
    del big
    before = ResidentPeak()
    with before:
        pass
    meter = ResidentPeak()

    def fail():
        with meter:
            big = bytearray(b"x") * size
            del big
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        fail()
    grown = meter.figures.peak_bytes - before.figures.peak_bytes
    assert grown == pytest.approx(size, rel=0.05)


def test_where_the_mark_cannot_be_reset_it_is_absent_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(resident, "_CLEAR", tmp_path / "nowhere" / "clear_refs")
    with ResidentPeak() as meter:
        pass
    assert meter.figures.peak_bytes is None
    assert meter.figures.start_bytes is None
    assert "cannot be reset" in meter.figures.reason


def test_malloc_is_not_tuned_where_it_is_not_glibcs(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    tuning = tune_malloc()
    assert not tuning.tuned
    assert "darwin" in tuning.reason


@LINUX
def test_malloc_is_not_tuned_under_another_malloc_nor_said_to_be_when_refused(monkeypatch):
    class Library:
        gnu_get_libc_version = None

        def mallopt(self, which, value):
            return int(which != allocator.M_ARENA_MAX)

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Library())
    assert tune_malloc().reason == "mallopt refused M_ARENA_MAX"
    monkeypatch.setattr(allocator, "other_malloc", lambda: "libjemalloc.so.2")
    assert "libjemalloc" in tune_malloc().reason
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert "not glibc" in tune_malloc().reason
