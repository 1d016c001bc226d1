"""Tests whether the package index and the model hub can be reached, once in each process and within seconds.

pip and huggingface_hub retry for minutes where there is no network. With the answer from here, callers use what is on
this machine at once, or end with one line that names the remedy.
"""

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
"""Seconds that a host has to accept a connection."""
_YES = {"1", "ON", "YES", "TRUE"}


@cache
def hub_in_reach() -> bool:
    """Tells whether the Hugging Face hub accepts connections.

    If it does not, huggingface_hub is switched off for this process and its children, which would otherwise retry each
    request. Call this before the first request.
    """
    if any(os.environ.get(name, "").upper() in _YES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
        return False
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if host_answers(endpoint):
        return True
    os.environ["HF_HUB_OFFLINE"] = "1"
    if "huggingface_hub" in sys.modules:  # it reads the variable only when it is imported
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
    """Tells whether one of the package indexes in pip's settings accepts connections.

    The answer is also yes if pip is to use no index (`no-index`) or an index that is a local folder.
    """
    settings = _pip_settings()
    if settings.get("no-index", "").upper() in _YES:
        return True
    indexes = [
        settings.get("index-url", "https://pypi.org/simple"),
        *settings.get("extra-index-url", "").split(),
    ]
    return any(not index.startswith("http") or host_answers(index, proxy=settings.get("proxy")) for index in indexes)


def _pip_settings() -> dict[str, str]:
    """Asks pip for its settings, from its files and the environment; returns name (without section) -> value."""
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
    """Tells whether the host of a URL accepts a connection within two seconds.

    Args:
        url: its scheme, host and port are used.
        proxy: an HTTP proxy; None: the one that the environment sets for this host, if any.
    """
    outcome: list[bool] = []
    # In a thread, because the timeout of a socket does not cover the lookup of the host's name.
    attempt = threading.Thread(target=lambda: outcome.append(_connects(url, proxy)), daemon=True)
    attempt.start()
    attempt.join(_TIMEOUT_S + 0.5)
    return bool(outcome and outcome[0])


def _connects(url: str, proxy: str | None) -> bool:
    place = urlsplit(url)
    host, port = place.hostname or "", place.port or (80 if place.scheme == "http" else 443)
    if proxy is None and not proxy_bypass(host):  # NO_PROXY may exclude this host
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
    """Opens a tunnel through an http proxy. For a proxy of another kind, only the proxy itself is connected to.

    Raises:
        OSError, HTTPException: the proxy refuses or does not answer.
    """
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
