"""The page's file: self-contained, escaped, small, and honest about what it leaves out."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.records.store import Record
from benchmarks.records import METHODS, profile, records
from reports.formats import page as page_module
from reports.report import write

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """Collects start tags with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)


def poisoned() -> list[Record]:
    """Records whose method, task, hyper-parameter, error and environment hold markup."""
    found = records(methods=["full", f"m{EVIL}"], tasks=["trec", f"t{EVIL}"], lost=[("full", "trec", 0)])
    return [
        record.model_copy(
            update={
                "reason": record.reason and f"{EVIL} broke",
                "environment": {**record.environment, "platform": EVIL},
            }
        )
        for record in found
    ]


def text_of(found: list[Record], out: Path, **settings: object) -> str:
    (out / "profiles").mkdir(exist_ok=True)
    (out / "profiles" / "minilm-l6.json").write_text(profile().model_dump_json())
    write(found, out, formats=["html"], **settings)  # type: ignore[arg-type]
    return (out / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    return text_of(records(lost=[("lora", "trec", 1)]), tmp_path_factory.mktemp("out"))


def test_it_refers_to_nothing_outside(plain: str) -> None:
    for tag, attributes in Elements(plain).tags:
        for name in ("src", "href", "action", "srcset", "data"):
            link = attributes.get(name)
            assert link is None or link.startswith(("data:", "#")), (tag, link)
    assert not re.search(r"url\(|@import", plain)
    assert "default-src 'none'" in plain


def test_markup_stays_text(tmp_path: Path) -> None:
    text = text_of(poisoned(), tmp_path)
    found = Elements(text)
    assert [tag for tag, _ in found.tags].count("script") == 2
    assert not any("onerror" in attributes for _, attributes in found.tags)
    assert EVIL not in text
    data = json.loads(found.scripts[0])
    assert f"m{EVIL}" in data["methods"]


def test_the_data_is_json_and_holds_no_estimate(plain: str) -> None:
    data = json.loads(Elements(plain).scripts[0])
    assert list(data["methods"]) == list(dict.fromkeys(data["methods"]))
    assert set(data["methods"]) == set(METHODS)
    assert not any("estimated" in key for key in data["figures"])
    point = data["panels"][0]["places"][0]["points"]["lora"]
    assert point["score"][1] < point["score"][0] < point["score"][2]
    assert point["score"][3] == 5
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", point["score"][4])
    assert (data["panels"][0]["places"][0]["axes"]["stored_bytes"]["label"], point["stored_bytes"][4]) == (
        "stored (MB)",
        "305 kB",
    )
    assert "r=8" in data["methods"]["lora"]["fields"]


def test_it_says_what_a_reader_must_know(plain: str) -> None:
    for words in (
        "Which method should I use?",
        "after 3 seeds",
        "of which 1 failed",
        "loss is not finite",
        "No energy was measured here",
        "store many copies",
        "joules were not measured",
        "Passes over the training rows",
        "bench compare",
        "made-up processor",
        "Known error",
    ):
        assert words in plain


def test_downloads_hold_the_numbers(plain: str) -> None:
    links = [a["href"] for tag, a in Elements(plain).tags if tag == "a" and "download" in a]
    raw = [base64.b64decode((link or "").partition(",")[2]) for link in links]
    tables = [(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode() for data in raw]
    assert tables[0].startswith("setting,")
    assert len(tables[1].splitlines()) == 1 + 48


def test_gates_appear_where_there_are_gates(tmp_path: Path, plain: str) -> None:
    assert "gates-title" not in plain
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "heat_map.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    (tmp_path / "gates" / "heat_map.md").write_text("# Heat\n\nMean gate <b>by layer</b>.\n")
    (tmp_path / "gates" / "shares.csv").write_text(f"term,share\ntask,0.25\n{EVIL.replace(',', '')},nan\n")
    text = text_of(records(seeds=1), tmp_path)
    assert 'id="gates-title"' in text
    assert '<td class="n" data-v="0.25">0.250</td>' in text
    assert "Mean gate &lt;b&gt;by layer&lt;/b&gt;." in text
    assert [tag for tag, _ in Elements(text).tags].count("script") == 2


def test_it_is_never_larger_than_6_mb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: str) -> None:
    monkeypatch.setattr(page_module, "LIMIT_BYTES", len(plain.encode()) - 1000)
    text = text_of(records(), tmp_path)
    assert "Left out to keep this file small: the figures" in text
    assert len(text) < len(plain)


def test_figures_are_embedded(tmp_path: Path) -> None:
    write(records(seeds=2), tmp_path, formats=["html", "svg"])
    text = (tmp_path / "report.html").read_text()
    images = [attributes for tag, attributes in Elements(text).tags if tag == "img"]
    assert len(images) == len(list((tmp_path / "figures").glob("*.svg")))
    assert all(image["alt"] for image in images)


def test_each_setting_has_its_own_figures(tmp_path: Path) -> None:
    write(records(methods=["full", "lora"], ks=[100, 500], seeds=2), tmp_path, formats=["html", "svg"])
    found = Elements((tmp_path / "report.html").read_text())
    settings = [attributes.get("data-setting") for tag, attributes in found.tags if tag == "figure"]
    assert {"0", "1", None} == set(settings)  # score against K is of no single setting
    assert settings.count("0") == settings.count("1")
