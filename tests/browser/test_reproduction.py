"""The page of a reproduction in a real browser, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mindseye.report import write_reproduction
from tests.browser.test_report import ARGUMENTS, STICKING_OUT, Visit
from tests.report.audits import HOSTILE
from tests.report.reproductions import hostile_reproduction, reproduction

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reproduction(hostile_reproduction(), tmp_path_factory.mktemp("browser") / "out")


@pytest.fixture(params=[1280, 390])
def visit(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    visit = Visit(browser, report, width=request.param)
    for summary in visit.page.locator("summary").all():
        summary.click()
    yield visit
    visit.page.close()


def test_the_page_opens_without_network_fault_or_running_markup(visit: Visit) -> None:
    visit.page.wait_for_timeout(300)
    assert not visit.requests
    assert not visit.faults
    assert visit.page.locator("b[onmouseover], img[onerror], svg[onload]").count() == 0
    assert visit.page.locator(".claim h3").first.text_content() == HOSTILE[0]


def test_nothing_is_wider_than_the_window_or_sticks_out_of_its_card(visit: Visit) -> None:
    content, window = visit.page.evaluate(
        "[document.documentElement.scrollWidth, window.innerWidth]"
    )
    assert content <= window
    assert visit.page.evaluate(STICKING_OUT) == []


def test_both_figures_are_drawn(visit: Visit) -> None:
    for name in ("edits", "steps"):
        assert visit.page.locator(f"#{name} .main-svg").count() > 0


def test_the_link_of_a_claim_leads_to_its_card(browser: Any, tmp_path: Path) -> None:
    found = replace(reproduction(), seed=0)
    visit = Visit(browser, write_reproduction(found, tmp_path))
    visit.page.locator('a[href="#disagrees-points"]').click()
    visit.page.wait_for_timeout(600)
    top = visit.page.locator("#disagrees-points").bounding_box()["y"]
    assert 0 <= top < 900
    visit.page.close()
