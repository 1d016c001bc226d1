"""Whether the package index and the model hub are in reach: asked once a process, answered in seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from functools import cache
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

_TIMEOUT_S = 2.0
_YES = {"1", "ON", "YES", "TRUE"}


@cache
def hub_in_reach() -> bool:
    """Whether the Hugging Face hub answers. If not, it is switched off for this process and its children.

    Call it before anything is asked of the hub: each of its own attempts would wait and try again.
    """
    if any(os.environ.get(name, "").upper() in _YES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
        return False
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if host_answers(endpoint):
        return True
    os.environ["HF_HUB_OFFLINE"] = "1"
    if "huggingface_hub" in sys.modules:  # it has read the variable already
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True
    print(
        f"{urlsplit(endpoint).hostname} is out of reach: its models and data sets come from the local cache.",
        file=sys.stderr,
        flush=True,
    )
    return False


@cache
def index_in_reach() -> bool:
    """Whether the package index that pip would ask answers (or pip is told to ask none)."""
    settings = _pip_settings()
    if settings.get("no-index", "").upper() in _YES:
        return True
    indexes = [
        settings.get("index-url", "https://pypi.org/simple"),
        *settings.get("extra-index-url", "").split(),
    ]
    return any(not index.startswith("http") or host_answers(index, proxy=settings.get("proxy")) for index in indexes)


def _pip_settings() -> dict[str, str]:
    """The settings of pip from its files and the environment, by name without their section."""
    command = [sys.executable, "-m", "pip", "config", "list", "--no-input"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():  # global.index-url='https://...'; the environment (:env:) is listed first
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in {"global", "download", ":env:"}:
            settings.setdefault(name, value.strip("'\"").replace("\\n", " "))
    return settings


def host_answers(url: str, *, proxy: str | None = None) -> bool:
    """Whether a connection to the host of `url`, through the proxy that applies, opens in two seconds."""
    outcome: list[bool] = []
    # In a thread of its own, because no timeout covers the lookup of a name.
    attempt = threading.Thread(target=lambda: outcome.append(_connects(url, proxy)), daemon=True)
    attempt.start()
    attempt.join(_TIMEOUT_S + 0.5)
    return bool(outcome and outcome[0])


def _connects(url: str, proxy: str | None) -> bool:
    place = urlsplit(url)
    host, port = place.hostname or "", place.port or (80 if place.scheme == "http" else 443)
    if proxy is None and not proxy_bypass(host):
        proxies = getproxies()
        proxy = proxies.get(place.scheme) or proxies.get("all")
    try:
        if proxy is None:
            socket.create_connection((host, port), _TIMEOUT_S).close()
        else:
            _connect_through(proxy if "//" in proxy else f"http://{proxy}", host, port)
    except (OSError, HTTPException, ValueError):
        return False
    return True


def _connect_through(proxy: str, host: str, port: int) -> None:
    """Asks an http proxy for a tunnel; of one of another kind, only whether it is there."""
    place = urlsplit(proxy)
    connection = HTTPConnection(place.hostname or "", place.port or 8080, timeout=_TIMEOUT_S)
    if place.scheme == "http":
        headers = {}
        if place.username:
            account = f"{unquote(place.username)}:{unquote(place.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {b64encode(account.encode()).decode()}"
        connection.set_tunnel(host, port, headers)
    connection.connect()
    connection.close()
