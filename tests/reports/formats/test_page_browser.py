"""The page in Debian's chromium: sorting, filtering, choice of axes, no errors, no network.

Where no chromium is installed it is skipped, unless TUNEBENCH_BROWSER_TESTS=1 says that it must run.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.records.store import write_record
from benchmarks.records import records
from reports.frame.fronts import front_members
from reports.frame.panels import OVERALL
from reports.report import read_report
from tests.reports.formats.test_page import poisoned, text_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
REQUIRED = os.environ.get("TUNEBENCH_BROWSER_TESTS") == "1"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not REQUIRED,
    reason="no chromium here (apt-get install chromium); TUNEBENCH_BROWSER_TESTS unset",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = (
        pytest.importorskip("playwright.sync_api") if not REQUIRED else __import__("playwright.sync_api").sync_api
    )
    assert CHROMIUM is not None, "TUNEBENCH_BROWSER_TESTS=1 and no chromium: apt-get install chromium"
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page")
    found = [*records(lost=[("lora", "trec", 1)]), *records(ks=[500])]
    for record in found:
        write_record(out, record)
    text_of(found, out)
    return out


class Opened:
    """A page with all that it complained of or asked for."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.complaints, self.requests = page, [], []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())

    complaints: list[str]
    requests: list[str]

    def quiet(self) -> None:
        outside = [url for url in self.requests if not url.startswith(("file:", "data:"))]
        assert self.complaints == []
        assert outside == []


def opened(browser: Browser, folder: Path, **settings: Any) -> Opened:
    return Opened(browser.new_context(offline=True, **settings).new_page(), folder / "report.html")


def column(page: Page, table: str, index: int) -> list[str]:
    cells = page.locator(f"#{table} tbody tr:visible > *:nth-child({index})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_sorting_by_value_with_absent_ones_last(browser: Browser, folder: Path) -> None:
    found = opened(browser, folder)
    heads = found.page.locator("#t0-0 thead button")
    names = heads.all_inner_texts()
    at = next(number for number, name in enumerate(names) if name.startswith("train s"))
    heads.nth(at).click()
    values = column(found.page, "t0-0", at + 1)
    assert values[-1] == "-"
    assert [float(value) for value in values[:-1]] == sorted(float(value) for value in values[:-1])
    assert found.page.locator("#t0-0 thead th").nth(at).get_attribute("aria-sort") == "ascending"
    heads.nth(at).press("Enter")  # by keyboard, the other way round
    assert column(found.page, "t0-0", at + 1)[:-1] == values[:-1][::-1]
    assert column(found.page, "t0-0", at + 1)[-1] == "-"
    trained = next(number for number, name in enumerate(names) if name == "trained")
    heads.nth(trained).click()
    numbers = [int(text.replace(",", "")) for text in column(found.page, "t0-0", trained + 1)]
    assert numbers == sorted(numbers)
    found.quiet()


def test_filtering(browser: Browser, folder: Path) -> None:
    found = opened(browser, folder)
    block = found.page.locator("[data-table]").filter(has=found.page.locator("#t0-2"))
    block.locator(".filter").fill("unipelt all")
    assert column(found.page, "t0-2", 2) == ["unipelt-apl"]
    assert block.locator(".count").inner_text() == "1 of 21 rows"
    block.locator(".filter").fill("")
    assert len(column(found.page, "t0-2", 1)) == 21
    found.quiet()


def test_limits_move_the_answer_by_keyboard_alone(browser: Browser, folder: Path) -> None:
    found = opened(browser, folder)
    page, says = found.page, found.page.locator("#limits-says")
    section = read_report([folder]).sections[0]
    decision = section.decision
    assert decision is not None
    assert says.inner_text() == f"No limit is set. {' '.join(section.headline)}"
    page.focus("#limit-stored_bytes")
    page.keyboard.type("0.3")
    keep = [m for m in decision.standings if m in ("prefix", "bitfit", "head", "majority")]
    assert says.inner_text().startswith(f"Use {keep[0]}: score {decision.standings[keep[0]].score.mean:.3f} [")
    assert page.locator("#plot g.mark.beyond").count() == len(decision.standings) - len(keep)
    page.keyboard.press("Tab")
    page.keyboard.type("1")
    assert "No method keeps these limits." in says.inner_text()
    assert "Not measured, so left out: majority" in says.inner_text()
    while page.evaluate("document.activeElement.textContent") != "No limits":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert says.inner_text().startswith("No limit is set.")
    assert page.locator("#plot g.mark.beyond").count() == 0
    page.fill("#copies", "5000")
    assert "for 5,000 copies" in page.locator(".card dd[data-bytes]").first.inner_text()
    found.quiet()


@pytest.mark.parametrize("size", [(1400, 900), (390, 844)])
def test_the_first_screen_has_question_answer_and_plot(browser: Browser, folder: Path, size: tuple[int, int]) -> None:
    width, height = size
    found = opened(browser, folder, viewport={"width": width, "height": height})
    for where in ("h1", ".answer:visible .use", ".answer:visible .how", "#plot"):
        box = found.page.locator(where).bounding_box()
        assert box is not None
        assert box["y"] >= 0, where
        assert box["y"] + box["height"] <= height, where
        assert box["x"] + box["width"] <= width, where
    found.quiet()


def test_choice_of_axes_and_the_hover_text(browser: Browser, folder: Path) -> None:
    found = opened(browser, folder)
    page = found.page
    assert "stored" in (page.locator("#plot svg").get_attribute("aria-label") or "")
    page.select_option("#plot-x", "train_live_bytes")
    page.select_option("#plot-y", "infer_flops_per_example")
    label = page.locator("#plot svg").get_attribute("aria-label") or ""
    assert re.fullmatch(r"inference FLOPs.* \(.\) against training memory.* \(.B\)", label)
    assert "majority" in page.locator("#plot-says").inner_text()  # has no such figures: named
    page.select_option("#plot-y", "score")
    mark = page.locator('#plot g.mark[data-method="lora"]')
    mark.focus()
    tip = page.locator("#tip").inner_text()
    assert tip.startswith("lora\nscore: 0.")
    assert re.search(r"score: 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]\ntraining memory.*: [\d.]+.* .B\n", tip)
    assert "r=8" in tip
    assert tip.replace("\n", ", ") == mark.get_attribute("aria-label")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.uncheck('#plot-methods input[value="lora"]')
    assert mark.count() == 0
    assert not any(
        "estimated" in value for value in page.locator("#plot-x option").evaluate_all("o => o.map(x => x.value)")
    )
    found.quiet()


def test_the_front_is_the_one_of_the_report(browser: Browser, folder: Path) -> None:
    found = opened(browser, folder)
    report = read_report([folder])
    members = front_members(report.panels[0], "stored_bytes", OVERALL)
    assert found.page.locator("#plot-x").input_value() == "stored_bytes"
    assert f"On the front, cheapest first: {', '.join(members)}." in found.page.locator("#plot-says").inner_text()
    found.page.uncheck(f'#plot-methods input[value="{members[-1]}"]')
    assert "On the front" in found.page.locator("#plot-says").inner_text()
    assert members[-1] not in found.page.locator("#plot-says").inner_text()
    found.quiet()


def test_choice_of_setting(browser: Browser, folder: Path) -> None:
    found = opened(browser, folder)
    answer = found.page.locator(".answer:visible")
    assert answer.get_attribute("aria-label") == "The answer: minilm-l6, 100 training rows"
    found.page.select_option("#setting", "1")
    assert answer.get_attribute("aria-label") == "The answer: minilm-l6, 500 training rows"
    assert found.page.locator("#limits-says").inner_text().count("seeds") == 1
    assert found.page.locator("#plot-panel").input_value() == "1"
    found.quiet()


def test_headings_explain_themselves_on_hover_and_focus(browser: Browser, folder: Path) -> None:
    found = opened(browser, folder)
    button = found.page.locator("#t0-0 thead button", has_text="trained")
    button.hover()
    assert "require a gradient" in found.page.locator("#tip").inner_text()
    found.page.mouse.move(0, 0)
    assert found.page.locator("#tip").is_hidden()
    button.focus()
    assert "Known error" in found.page.locator("#tip").inner_text()
    found.quiet()


def test_injected_markup_stays_text(browser: Browser, tmp_path: Path) -> None:
    text_of(poisoned(), tmp_path)
    found = opened(browser, tmp_path)
    page = found.page
    page.wait_for_timeout(200)
    assert page.title().startswith("Which method should I use?")
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 2
    page.locator("#plot g.mark").last.focus()
    assert page.locator("#tip img").count() == 0
    assert "onerror=alert(1)" in page.locator("#plot-methods").inner_text()
    found.quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, folder: Path, scheme: str) -> None:
    found = opened(browser, folder, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 390
    ground = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(23, 24, 27)")
    found.quiet()


def test_the_download_is_the_data(browser: Browser, folder: Path) -> None:
    found = opened(browser, folder)
    with found.page.expect_download() as waiting:
        found.page.locator("a.download").first.click()
    assert Path(waiting.value.path()).read_text().startswith("setting,")
    found.quiet()
