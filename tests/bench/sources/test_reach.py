"""Whether something is in reach, seen from servers and proxies on this machine."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from bench.sources import reach

CLOSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from huggingface_hub import constants

    for name in [*os.environ]:
        if name.startswith(("PIP_", "HF_", "TRANSFORMERS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # so that monkeypatch puts back what the code under test sets
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    reach.hub_in_reach.cache_clear()
    reach.index_in_reach.cache_clear()
    yield
    reach.hub_in_reach.cache_clear()
    reach.index_in_reach.cache_clear()


class Server:
    """Accepts connections, notes the first line of each, and answers it with `reply`."""

    def __init__(self, reply: bytes) -> None:
        self.seen: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.reply = reply
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(4096).decode()
                if request:
                    self.seen.append(request)
                    connection.sendall(self.reply)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(b"HTTP/1.1 200 Connection established\r\n\r\n")
    yield server
    server.socket.close()


def test_a_hub_that_answers_is_in_reach(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    assert reach.hub_in_reach()
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert capsys.readouterr().err == ""


def test_a_hub_that_does_not_is_switched_off_once_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    started = time.perf_counter()
    assert not reach.hub_in_reach()
    assert not reach.hub_in_reach()
    assert time.perf_counter() - started < 3
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert sys.modules["huggingface_hub"].is_offline_mode()  # also where it was imported before
    assert capsys.readouterr().err.count("127.0.0.1 is out of reach") == 1


def test_who_asked_for_offline_is_not_told_so(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    assert not reach.hub_in_reach()
    assert capsys.readouterr().err == ""


def test_a_lookup_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(reach, "_connects", lambda url, proxy: release.wait(20))
    monkeypatch.setattr(reach, "_TIMEOUT_S", 0.1)
    started = time.perf_counter()
    assert not reach.host_answers("https://example.invalid")
    assert time.perf_counter() - started < 2
    release.set()


def test_a_proxy_is_asked_for_a_tunnel(server: Server) -> None:
    proxy = server.url.replace("//", "//me:secret%21@")
    assert reach.host_answers("https://example.invalid", proxy=proxy)
    assert server.seen[0].startswith("CONNECT example.invalid:443 ")
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0IQ==" in server.seen[0]  # me:secret!


def test_a_proxy_that_refuses_or_is_not_there_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = Server(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    monkeypatch.setenv("https_proxy", refusing.url)
    assert not reach.host_answers("https://example.invalid")
    assert refusing.seen
    monkeypatch.setenv("https_proxy", CLOSED)
    assert not reach.host_answers("https://example.invalid")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert reach.host_answers(refusing.url.replace("http:", "https:"))
    refusing.socket.close()


def test_the_index_is_the_one_pip_would_ask(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{CLOSED}/simple")
    assert not reach.index_in_reach()
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{CLOSED}/other {server.url}/simple")
    reach.index_in_reach.cache_clear()
    assert reach.index_in_reach()


def test_pip_without_an_index_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{CLOSED}/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert reach.index_in_reach()
