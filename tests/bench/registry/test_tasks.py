from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.registry import plugins
from bench.registry.tasks import resolve_task
from bench.sources.formats import FILE_FORMATS
from bench.tasks import Folder

MINE = """
from bench.tasks import Folder, Task
MINE = Task(name="mine", source=Folder("."))
THIEF = Task(name="trec", source=Folder("."))
OTHER = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "reviews"
    path.mkdir()
    (path / "train.jsonl").write_text('{"text": "a", "label": 0}\n')
    (path / "validation.jsonl").write_text('{"text": "b", "label": 1}\n')
    return path


def test_a_shipped_task() -> None:
    found = resolve_task("trec")
    assert (found.spec.name, found.spec.label, found.spec.source) == ("trec", "trec", "built-in")
    assert found.spec.revision == found.task.revision
    assert resolve_task("glue/rte").task.headline == "accuracy"


def test_a_folder_is_pinned_by_its_content(folder: Path) -> None:
    first = resolve_task(f"{folder}/")
    assert first.spec.label == "reviews"
    assert resolve_task(str(folder)).spec.revision == first.spec.revision
    (folder / "train.jsonl").write_text('{"text": "c", "label": 0}\n')
    assert resolve_task(str(folder)).spec.revision != first.spec.revision


def test_every_suffix_that_is_read_counts_for_the_revision(folder: Path) -> None:
    for suffix in FILE_FORMATS:
        file = folder / f"train{suffix}"
        file.write_text("one")
        before = resolve_task(str(folder)).spec.revision
        file.write_text("two")
        assert resolve_task(str(folder)).spec.revision != before, suffix


def test_columns_of_a_folder(folder: Path) -> None:
    task = resolve_task(f"{folder}[text=review,label=stars,headline=matthews]").task
    assert task.headline_of("classes") == "matthews"
    source = task.source
    assert isinstance(source, Folder)
    assert (source.text, source.pair, source.label) == ("review", None, "stars")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trek", "unknown task 'trek'; did you mean trec"),
        ("glue/rtee", "did you mean glue/rte"),
        ("./nowhere", "task ./nowhere: no such folder"),
        ("trec[text=a]", "task trec has its columns"),
        ("{folder}[txt=a]", "a folder takes text, pair, label, headline, not txt"),
        ("{folder}[headline=acc]", "unknown score 'acc'; there is accuracy"),
        ("{folder}[pair=a]", "pair=a needs text="),
        ("hf:", "name a data set, as in hf:owner/name"),
        ("hf:./nowhere", "nowhere: no such folder"),
        ("hf:some/data[split=a]", "takes config, train, test, text, pair, label, revision, headline, not split"),
        ("hf:{folder}[revision=main]", "a local folder has no revisions"),
        ("hf:{folder}[pair=a]", "pair=a needs text="),
        ("hf:{folder}[headline=acc]", "unknown score 'acc'; there is accuracy"),
        ("{plugin}:THIEF", "calls itself 'trec', which is shipped"),
        ("{plugin}:OTHER", "is a int, not a bench.Task"),
        ("{plugin}:MIEN", "did you mean MINE"),
    ],
)
def test_a_mistake_is_named_in_one_line(text: str, message: str, folder: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(MINE)
    with pytest.raises(UserError, match=message) as caught:
        resolve_task(text.format(folder=folder, plugin=plugin))
    assert "\n" not in str(caught.value)


def test_a_task_of_a_file_or_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(MINE)
    found = resolve_task(f"{plugin}:MINE")
    assert found.spec.label == "mine"
    assert found.spec.source.startswith("sha256:")
    entry = EntryPoint("theirs", "tasks:SYNTHETIC", "tunebench.tasks")
    monkeypatch.setattr(plugins, "entry_points", lambda group: {"theirs": entry})
    with pytest.raises(UserError, match="calls itself 'synthetic'"):
        resolve_task("theirs")
