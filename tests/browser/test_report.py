"""The written page in a real browser, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mindseye.report import write_report
from mindseye.studies import Audit
from tests.report.audits import HOSTILE, hostile_audit

pytestmark = [pytest.mark.browser, pytest.mark.model]

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(found: Audit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two reasoners, one of them all markup."""
    audits = [replace(found, name="plain"), hostile_audit(found)]
    return write_report(audits, tmp_path_factory.mktemp("browser") / "out")


class Visit:
    """An open page, with what went wrong on it and what it asked the network for."""

    def __init__(self, browser: Any, report: Path, width: int = 1280) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.route("**/*", self._gate)
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        self.page.on("dialog", self._dismiss)
        self.page.goto(report.as_uri())
        self.page.wait_for_selector(".js-plotly-plot .main-svg")

    def _gate(self, route: Any) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning", "trace"):  # plotly.js warns by console.trace
            self.faults.append(message.text)

    def _dismiss(self, dialog: Any) -> None:
        self.faults.append(f"dialog {dialog.message!r}")
        dialog.dismiss()


@pytest.fixture(params=[1280, 420])
def visit(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    visit = Visit(browser, report, width=request.param)
    yield visit
    visit.page.close()


def test_the_page_opens_without_network_or_fault(visit: Visit) -> None:
    visit.page.wait_for_timeout(300)
    assert not visit.requests
    assert not visit.faults


def test_every_unfolded_figure_is_drawn(visit: Visit) -> None:
    drawn = visit.page.locator(".figure-holder:visible")
    assert drawn.count() >= 8
    for i in range(drawn.count()):
        assert drawn.nth(i).locator(".main-svg").count() > 0


def test_folded_examples_are_drawn_when_unfolded(visit: Visit) -> None:
    folded = visit.page.locator("details .figure-holder")
    assert folded.locator(".main-svg").count() == 0
    visit.page.locator(".more summary").first.click()
    folded.first.locator(".main-svg").first.wait_for()
    assert not visit.faults


def test_the_checklist_unfolds_to_all_its_items(visit: Visit) -> None:
    asked = visit.page.locator("#r0 .asked")
    assert asked.count() == 19
    assert not asked.first.is_visible()
    visit.page.locator("#r0 .checklist summary").click()
    assert all(asked.nth(i).is_visible() for i in range(19))


def test_the_verdict_stands_beside_the_name(visit: Visit, found: Audit) -> None:
    name, chip = (visit.page.locator(f"#r0 .headline {part}") for part in ("h2", ".chip"))
    assert chip.text_content() == found.mediation.verdict
    left, right = name.bounding_box(), chip.bounding_box()
    assert left["x"] + left["width"] <= right["x"]
    assert left["y"] < right["y"] + right["height"] / 2 < left["y"] + left["height"]


def test_the_page_is_never_wider_than_the_window(visit: Visit) -> None:
    for summary in visit.page.locator("summary").all():
        summary.click()
    widths = "[document.documentElement.scrollWidth, window.innerWidth]"
    content, window = visit.page.evaluate(widths)
    assert content <= window


STICKING_OUT = """
() => [...document.querySelectorAll(".card")].flatMap((card) => {
  const edge = card.getBoundingClientRect();
  return [...card.querySelectorAll("h3, h4, p, dt, dd, th, td, small, li, .chip, figure")]
    .filter((part) => !part.closest(".scroll") && part.getClientRects().length)
    .filter((part) => part.getBoundingClientRect().right > edge.right + 0.5)
    .map((part) => part.textContent);
})
"""


def test_nothing_sticks_out_of_its_card(visit: Visit) -> None:
    for summary in visit.page.locator("summary").all():
        summary.click()
    assert visit.page.evaluate(STICKING_OUT) == []


def test_hovering_a_slot_shows_its_value(visit: Visit, found: Audit) -> None:
    figure = visit.page.locator("#r0-slots")
    figure.scroll_into_view_if_needed()
    box = figure.locator(".xy .scatterlayer .point").first.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hover = figure.locator(".hoverlayer .hovertext").first
    hover.wait_for()
    assert "slot 0" in hover.text_content()


def test_on_paper_the_table_is_whole_and_the_checklist_open(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 794, "height": 1123})
    visit.page.emulate_media(media="print")
    table = visit.page.locator(".verdicts table").bounding_box()
    card = visit.page.locator(".card.verdicts").bounding_box()
    assert table["x"] + table["width"] <= card["x"] + card["width"]
    assert visit.page.locator("#r0 .asked").first.is_visible()


def test_hovering_a_heatmap_cell_shows_its_value(visit: Visit, found: Audit) -> None:
    heatmap = visit.page.locator("#r0-sweep")
    heatmap.scroll_into_view_if_needed()
    box = heatmap.locator(".plot .heatmaplayer image, .heatmaplayer image").first.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] / 8, box["y"] + box["height"] * 7 / 8)
    hover = heatmap.locator(".hoverlayer .hovertext")
    hover.first.wait_for()
    first = found.grid.mean().query("layer == 0 and slot == 0")["effect"].item()
    said = hover.first.text_content().replace("\N{MINUS SIGN}", "-")
    assert "layer 0, slot 0" in said
    assert f"{first:.2f} nats" in said


def test_markup_in_data_is_shown_as_text(visit: Visit) -> None:
    section = visit.page.locator("#r1")
    assert section.locator("h2").text_content() == "<script>alert(1)</script>"
    assert section.locator(".headline .chip").text_content() == HOSTILE[3]
    assert section.locator(".why").text_content() == f"{HOSTILE[1]} {HOSTILE[2]}"
    assert HOSTILE[3] in section.locator(".truth").text_content()
    assert HOSTILE[1] in section.locator(".asked").nth(6).text_content()
    assert HOSTILE[2] in section.locator(".small-table").nth(1).text_content()
    assert section.locator(".question").first.text_content() == "<img src=x onerror=alert(1)>"
    assert visit.page.locator("b[onmouseover], img[onerror], svg[onload]").count() == 0


def test_a_script_that_is_not_ours_would_not_run(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    tampered = tmp_path / "report.html"
    page = report.read_text(encoding="utf-8")
    tampered.write_text(page.replace("</main>", "<script>alert(1)</script></main>"))
    visit = Visit(browser, tampered)
    assert any("Content Security Policy" in fault for fault in visit.faults)
    assert not any("dialog" in fault for fault in visit.faults)
    visit.page.close()
