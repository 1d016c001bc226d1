"""What `bench new` writes works as it stands."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from bench.contract import architectures
from bench.contract.architectures import ARCHITECTURES
from bench.registry.tasks import resolve_task
from tests.conftest import bench


def run_test(file: Path, name: str) -> None:
    runpy.run_path(str(file))[name]()


def test_a_new_method_passes_its_own_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench("new", "method", "norm-tuning", "--folder", str(tmp_path), monkeypatch=monkeypatch) == 0
    source = (tmp_path / "norm_tuning.py").read_text("utf-8")
    assert len([line for line in source.splitlines() if line.strip()]) <= 12
    # On one architecture: tests/test_docs.py checks the same file on all of them.
    monkeypatch.setattr(architectures, "ARCHITECTURES", {"bert": ARCHITECTURES["bert"]})
    run_test(tmp_path / "test_norm_tuning.py", "test_it_keeps_the_contract")
    (tmp_path / "norm_tuning.py").write_text(source.replace("module.requires_grad_(True)", "pass"))
    with pytest.raises(AssertionError):
        run_test(tmp_path / "test_norm_tuning.py", "test_it_keeps_the_contract")


def test_a_new_task_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.sources.split import load_rows

    assert bench("new", "task", "film-mood", "--folder", str(tmp_path), monkeypatch=monkeypatch) == 0
    task = resolve_task(f"{tmp_path}/film_mood.py:FILM_MOOD").task
    rows = load_rows(task)
    assert (len(rows.train), len(rows.test)) == (4, 2)
    monkeypatch.syspath_prepend(tmp_path)
    run_test(tmp_path / "test_film_mood.py", "test_its_rows_are_read")


def test_a_new_kind_keeps_the_contract_and_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.tasks import kind_named, kinds, score_named

    assert bench("new", "kind", "star-counts", "--folder", str(tmp_path), monkeypatch=monkeypatch) == 0
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, object] = {}
    exec((tmp_path / "test_star_counts.py").read_text("utf-8"), names)
    names["test_it_keeps_the_contract"]()  # type: ignore[operator]
    installed = tmp_path / "stars-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: stars\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[tunebench.kinds]\nstar-counts = star_counts:KIND\nlost = star_counts:NONE\n"
    )
    kinds.cache_clear()
    try:
        assert kind_named("star-counts").headline == "pearson"
        assert score_named("pearson") is not None
        with pytest.raises(ValueError, match="kind 'lost' of star_counts:NONE does not load: AttributeError"):
            kind_named("lost")
    finally:
        kinds.cache_clear()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lora", "is built in"),
        ("trec", "is taken"),
        ("my method", "cannot be written"),
        ("class", "no name of a Python"),
    ],
)
def test_a_bad_name_writes_nothing(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("new", "method", name, "--folder", str(tmp_path), monkeypatch=monkeypatch) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_mine.py").write_text("my own work")
    assert bench("new", "method", "mine", "--folder", str(tmp_path), monkeypatch=monkeypatch) == 2
    assert "is there already; nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
