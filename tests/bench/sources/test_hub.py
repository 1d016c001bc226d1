"""Data sets of the hub: the real `datasets` reads local repositories, a hub served here, and the hub's own cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow
import pyarrow.parquet
import pytest

from bench.errors import UserError
from bench.registry.tasks import resolve_task
from bench.sources.hub import commit_of, read_hub
from bench.sources.rows import read_folder
from bench.tasks import Folder, HubData, Row

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def never() -> bool:
    """No hub is in reach."""
    return False


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our cache and the hub's, both empty."""
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def cached(tmp_path: Path, commit: str = COMMIT) -> Path:
    """The folder of a commit of some/data in the hub's cache, to which `main` points."""
    place = tmp_path / "hub" / "datasets--some--data"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    return place / "snapshots" / commit


def write_jsonl(path: Path, *labels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"{path.stem} {number}", "label": label, "idx": number} for number, label in enumerate(labels)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A local repository with two configurations, as a README of the hub names them."""
    path = tmp_path / "films"
    write_jsonl(path / "mood/learn.jsonl", "good", "bad")
    write_jsonl(path / "mood/score.jsonl", "bad")
    write_jsonl(path / "stars/train.jsonl", 4, 1)
    write_jsonl(path / "stars/test.jsonl", 3)
    (path / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: mood\n  data_files:\n"
        "  - split: train\n    path: mood/learn.jsonl\n  - split: validation\n    path: mood/score.jsonl\n"
        "- config_name: stars\n  data_files:\n"
        "  - split: train\n    path: stars/train.jsonl\n  - split: test\n    path: stars/test.jsonl\n"
        "---\n# Films\n"
    )
    return path


def test_a_local_repository_is_read_with_its_configurations(repository: Path) -> None:
    rows = read_hub(HubData(str(repository), "mood", "", test=None), reachable=never)
    assert list(rows.train) == [Row("learn 0", None, "good"), Row("learn 1", None, "bad")]
    assert list(rows.test) == [Row("score 0", None, "bad")]
    assert rows.dev is None
    stars = HubData(str(repository), "stars", "", test=None, text="text", pair="text")
    assert list(read_hub(stars, reachable=never).test) == [Row("test 0", "test 0", 3)]  # there is no validation


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_our_readers_and_datasets_read_the_same(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "films"  # our cache lies beside it
    folder.mkdir()
    import pandas as pd

    texts = ["a, b", 'a\tb "quoted"', "two\nlines", "\u00e9\u4e2d \U0001f600", " spaces "]
    for part in ("train", "validation"):
        table = pd.DataFrame({"sentence": [f"{part} {text}" for text in texts], "label": [0, 1, 2, 1, 0]})
        if form == "parquet":
            table.to_parquet(folder / f"{part}.parquet")
        elif form == "jsonl":
            table.to_json(folder / f"{part}.jsonl", orient="records", lines=True)
        else:
            table.to_csv(folder / f"{part}.{form}", index=False, sep="," if form == "csv" else "\t")
    ours = read_folder(Folder(folder))
    theirs = read_hub(HubData(str(folder), None, "", test=None), reachable=never)
    assert [row.text for row in ours.train] == [f"train {text}" for text in texts]
    assert list(ours.train) == list(theirs.train)
    assert list(ours.test) == list(theirs.test)


def test_why_csv_and_jsonl_of_a_folder_are_not_read_by_datasets(tmp_path: Path) -> None:
    folder = tmp_path / "films"  # our cache lies beside it
    folder.mkdir()
    for part in ("train", "validation"):
        (folder / f"{part}.csv").write_text('text,label\nfine,01\nNone,x1\n"bad" idea,x2\n')
    with pytest.raises(UserError, match=r"train.csv:4 is not CSV"):
        read_folder(Folder(folder))
    with pytest.raises(UserError, match=r"train:2 has no 'text'"):  # "None" is taken for a missing value
        read_hub(HubData(str(folder), None, ""), reachable=never)
    for part in ("train", "validation"):
        (folder / f"{part}.csv").write_text("text,label\nfine,01\nbad,02\n")
    assert [row.label for row in read_hub(HubData(str(folder), None, ""), reachable=never).train] == [1, 2]
    for part in ("train", "validation"):
        (folder / f"{part}.csv").unlink()
        (folder / f"{part}.jsonl").write_text(
            '{"text": "2020-01-01", "label": 0}\n{"text": "2020-01-02", "label": 1}\n'
        )
    assert [row.text for row in read_folder(Folder(folder)).train] == ["2020-01-01", "2020-01-02"]
    with pytest.raises(UserError, match=r"train:1 needs text, not a datetime, in 'text'"):
        read_hub(HubData(str(folder), None, ""), reachable=never)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, "films cannot be read: Config name is missing. .*mood.*stars"),
        ({"config": "moods"}, "cannot be read: BuilderConfig 'moods' not found. Available: .*mood"),
        ({"config": "mood", "test": "tset"}, r"films/mood has no split 'tset' \(there is train, validation\)"),
        ({"config": "mood", "text": "body"}, "films/mood train has the columns text, label, idx: name the text's"),
        ({"config": "mood", "label": "idy"}, "films/mood train has no column 'idy' among text, label, idx"),
        ({"config": "mood", "text": "idx"}, "films/mood train:1 needs text, not a number, in 'idx'"),
    ],
)
def test_a_mistake_is_one_line(repository: Path, changes: dict[str, Any], complaint: str) -> None:
    data = HubData(**{"repo": str(repository), "config": None, "revision": "", **changes})
    with pytest.raises(UserError, match=complaint) as raised:
        read_hub(data, reachable=never)
    assert "\n" not in str(raised.value)


def test_a_broken_file_is_one_line_and_nothing_is_kept(repository: Path, cache: Path) -> None:
    (repository / "mood/learn.jsonl").write_text('{"text": "a", "label": 1}\n{"text"')
    with pytest.raises(UserError, match="films/mood cannot be read: ") as raised:
        read_hub(HubData(str(repository), "mood", ""), reachable=never)
    assert "\n" not in str(raised.value)
    assert list((cache / "datasets").iterdir()) == []


def test_changed_files_are_read_again_even_at_the_same_time_of_change(repository: Path) -> None:
    file = repository / "mood/score.jsonl"
    times = file.stat()
    first = resolve_task(f"hf:{repository}[config=mood]")
    assert [row.label for row in read_hub(first.task.source, reachable=never).test] == ["bad"]
    file.write_text(file.read_text().replace('"bad"', '"dab"'))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = resolve_task(f"hf:{repository}[config=mood]")
    assert first.spec.revision != second.spec.revision
    assert [row.label for row in read_hub(second.task.source, reachable=never).test] == ["dab"]


def test_datasets_writes_nothing_outside_our_cache_and_nothing_on_the_terminal(
    repository: Path, tmp_path: Path
) -> None:
    code = (
        "from bench.sources.hub import read_hub; from bench.tasks import HubData; "
        f"print(len(read_hub(HubData({str(repository)!r}, 'mood', ''), reachable=lambda: 1 / 0).train))"
    )
    home = tmp_path / "home"
    home.mkdir()
    before = sorted(repository.rglob("*"))
    environment = {"HOME": str(home), "TUNEBENCH_CACHE": str(tmp_path / "own"), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert sorted(repository.rglob("*")) == before
    assert [path.name.partition("-")[0] for path in (tmp_path / "own/datasets").iterdir()] != []


class Hub:
    """A small hub over HTTP: the few addresses that huggingface_hub and datasets ask, for one folder as some/data."""

    def __init__(self, folder: Path) -> None:
        hub = self
        self.seen: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.seen.append(f"{self.command} {self.path}")
                place = urlsplit(self.path).path
                files = sorted(path for path in folder.rglob("*") if path.is_file())
                if place.startswith("/datasets/some/data/resolve/"):
                    name = unquote(place.split("/", 6)[6])
                    if (path := folder / name).is_file():
                        self.answer(path.read_bytes(), ETag=f'"{sha1(path.read_bytes()).hexdigest()}"')
                    else:
                        self.answer(b"", 404, **{"X-Error-Code": "EntryNotFound"})
                elif place.startswith("/api/datasets/some/data/tree/"):
                    inner = unquote("/".join(place.split("/")[7:]))
                    self.answer(json.dumps([entry(p) for p in files if inner in p.as_posix()]).encode())
                elif place.startswith("/api/datasets/some/data/paths-info/"):
                    asked = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
                    names = asked.get("paths", [])
                    self.answer(
                        json.dumps([entry(folder / name) for name in names if (folder / name).exists()]).encode()
                    )
                elif place.startswith("/api/datasets/some/data"):
                    listed = [{"rfilename": path.relative_to(folder).as_posix()} for path in files]
                    self.answer(json.dumps({"id": "some/data", "sha": COMMIT, "siblings": listed}).encode())
                else:
                    self.answer(b"", 404, **{"X-Error-Code": "RepoNotFound"})

            do_HEAD = do_POST = do_GET  # noqa: N815

            def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
                self.send_response(status)
                for name, value in {"X-Repo-Commit": COMMIT, **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        def entry(path: Path) -> dict[str, Any]:
            name = path.relative_to(folder).as_posix()
            if path.is_dir():
                return {"type": "directory", "path": name, "oid": "0" * 40}
            return {
                "type": "file",
                "path": name,
                "oid": sha1(path.read_bytes()).hexdigest(),
                "size": path.stat().st_size,
            }

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


ASKED = """
import sys
from bench.errors import UserError
from bench.registry.tasks import resolve_task
from bench.sources.split import load_rows

task = resolve_task("hf:some/data[config=mood]")
print(task.spec.name)
print([row.label for row in load_rows(task.task).train], "datasets" in sys.modules)
try:
    resolve_task("hf:some/other")
except UserError as error:
    print(error)
"""


def test_a_hub_is_asked_once_and_its_commit_is_kept(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "TUNEBENCH_CACHE": str(tmp_path / "own"), "PYTHONPATH": ":".join(sys.path)}

    def ask(endpoint: str) -> tuple[list[str], str]:
        command = [sys.executable, "-c", ASKED]
        done = subprocess.run(
            command, env={**environment, "HF_ENDPOINT": endpoint}, capture_output=True, text=True, check=False
        )
        return done.stdout.splitlines(), done.stderr

    served = Hub(repository)
    answers, said = ask(served.url)
    served.server.shutdown()
    served.server.server_close()
    assert said == "fetching some/data/mood from the Hugging Face hub (once)\n", served.seen
    assert answers[:2] == [f"hf:some/data[config=mood,revision={COMMIT}]", "['good', 'bad'] True"]
    assert answers[2].startswith("some/other at revision main cannot be had from the hub: ")
    # Out of reach, the branch is what it was, and the rows come from our cache.
    answers, said = ask("http://127.0.0.1:9")
    assert said.count("\n") == 1
    assert "127.0.0.1 is out of reach" in said
    assert answers[:2] == [f"hf:some/data[config=mood,revision={COMMIT}]", "['good', 'bad'] False"]
    assert answers[2].startswith("some/other is not in the cache of the Hugging Face hub, which is out of reach: ")


def test_hub_data_is_read_from_its_parquet_files_in_the_hubs_cache(tmp_path: Path) -> None:
    folder = cached(tmp_path)
    for name, text in {
        "train-00000-of-00002": "a",
        "train-00001-of-00002": "c",
        "test_matched-00000-of-00001": "e",
    }.items():
        write_parquet(folder / f"pairs/{name}.parquet", {"premise": [text], "hypothesis": ["b"], "label": [2]})
    data = HubData("some/data", "pairs", COMMIT, test="test_matched")
    rows = read_hub(data, reachable=never)
    assert rows.train == [Row("a", "b", 2), Row("c", "b", 2)]
    assert rows.test == [Row("e", "b", 2)]
    assert rows.dev is None
    (folder / "pairs/train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match=r"some/data/pairs is not in the cache"):  # half a download is none
        read_hub(data, reachable=never)


def test_hub_data_out_of_reach_fails_at_once(tmp_path: Path) -> None:
    line = r"some/data/pairs is not in the cache .* out of reach: connect once"
    with pytest.raises(UserError, match=line):
        read_hub(HubData("some/data", "pairs", COMMIT), reachable=never)
    write_parquet(cached(tmp_path) / "pairs/train-00000-of-00001.parquet", {"text": ["a"], "label": [2]})
    with pytest.raises(UserError, match=line):
        read_hub(HubData("some/data", "pairs", COMMIT), reachable=never)


def test_a_branch_is_pinned_to_the_commit_that_the_cache_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.registry.tasks.hub_in_reach", never)
    with pytest.raises(UserError, match="some/data is not in the cache of the Hugging Face hub, which is out of reach"):
        commit_of("some/data", None, reachable=never)
    cached(tmp_path)
    assert commit_of("some/data", None, reachable=never) == COMMIT
    assert commit_of("some/data", "main", reachable=never) == COMMIT
    assert commit_of("some/data", "f" * 40, reachable=never) == "f" * 40  # a commit is one already
    found = resolve_task("hf:some/data[config=pairs,text=body,headline=f1]")
    assert found.spec.name == f"hf:some/data[config=pairs,text=body,headline=f1,revision={COMMIT}]"
    assert (found.spec.label, found.spec.source, found.spec.revision) == ("some/data/pairs", "hub", COMMIT)
    assert found.task.source == HubData("some/data", "pairs", COMMIT, test=None, text="body")
    assert resolve_task(found.spec.name).spec == found.spec  # what a run resolves again
