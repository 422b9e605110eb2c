"""The maintenance page in a real browser: Debian's Chromium, without a display."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.acceptance.health_support import ask
from tests.acceptance.test_health_gate import migrating, slow, started
from tests.support.servers import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver

    from tests.support.projects import Project
    from tests.support.servers import Database

pytestmark = pytest.mark.browser

CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
const light = (rgb) => {
  const [r, g, b] = rgb.map((v) => v / 255).map(
    (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const back = light(parse(getComputedStyle(document.body).backgroundColor));
return ["heading", "text", "step", "time"].map((id) => {
  const front = light(parse(getComputedStyle(document.getElementById(id)).color));
  return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
});
"""


@pytest.fixture
def browser() -> Iterator[WebDriver]:
    """A browser of its own for this test."""
    with_script = options()
    with webdriver.Chrome(options=with_script, service=service()) as found:
        yield found


@pytest.fixture
def browser_without_script() -> Iterator[WebDriver]:
    """A browser that runs no JavaScript."""
    without = options()
    without.add_experimental_option(
        "prefs", {"profile.managed_default_content_settings.javascript": 2}
    )
    with webdriver.Chrome(options=without, service=service()) as found:
        yield found


def options() -> webdriver.ChromeOptions:
    """Return what a browser needs on a machine without display, GPU and big /dev/shm."""
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = str(requires("chromium"))
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1100,720",
    ):
        chosen.add_argument(argument)
    return chosen


def service() -> Service:
    """Return Debian's driver, so that none is downloaded."""
    return Service(executable_path=str(requires("chromedriver")))


def text(browser: WebDriver, name: str) -> str:
    """Return the text of an element of the page."""
    found: str = browser.find_element(By.ID, name).text
    return found


def until_title(browser: WebDriver, title: str, seconds: float = 30.0) -> None:
    """Wait until the browser shows a page by its title."""
    deadline = time.monotonic() + seconds
    while browser.title != title:
        if time.monotonic() > deadline:
            pytest.fail(f"still at {browser.title!r}, not {title!r}")
        time.sleep(0.1)


@pytest.mark.slow
def test_the_page_shows_progress_and_turns_into_the_application_by_itself(
    project: Project, database: Database, tmp_path: Path, browser: WebDriver
) -> None:
    """Nobody touches the browser: page, steps one to four, application."""
    slow(project, 4, 1.6)
    with started(project, database, tmp_path) as shop:
        shop.process.until(lambda: ask(shop.port, "/livez").status == 200)
        browser.get(f"http://127.0.0.1:{shop.port}/")
        assert browser.title == "Back in a moment"
        assert text(browser, "heading") == "Back in a moment"
        steps: list[str] = []
        shares: list[float] = []
        deadline = time.monotonic() + 30.0
        while browser.title != "The shop" and time.monotonic() < deadline:
            state = browser.execute_script(
                "const at = (id) => document.getElementById(id);"
                "return at('step') && [at('step').textContent, at('bar').position]"
            )
            if state is not None:
                steps.append(state[0])
                shares.append(state[1])
            time.sleep(0.1)
        assert browser.title == "The shop"
        assert {"Step 2 of 4", "Step 3 of 4", "Step 4 of 4"} <= set(steps)
        measured = [share for share in shares if share >= 0]
        assert measured == sorted(measured)
        assert {0.25, 0.5, 0.75} <= set(measured)


def test_the_policy_of_the_page_breaks_nothing_in_it(
    project: Project, database: Database, tmp_path: Path, browser: WebDriver
) -> None:
    """The style applies, the script runs, and the console complains of no violation."""
    slow(project, 2, 2.0)
    with started(project, database, tmp_path) as shop:
        shop.process.until(lambda: migrating(shop))
        browser.get(f"http://127.0.0.1:{shop.port}/")
        display = browser.execute_script("return getComputedStyle(document.body).display")
        assert display == "grid"
        log = browser.get_log("browser")  # type: ignore[no-untyped-call]
        complaints = [entry["message"] for entry in log]
        assert not [one for one in complaints if "Content Security Policy" in one]
        until_title(browser, "The shop")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_in_light_and_dark(
    scheme: str, project: Project, database: Database, tmp_path: Path, browser: WebDriver
) -> None:
    """Every text has a contrast of 4.5 at least (WCAG 2.2, AA), in both schemes."""
    slow(project, 1, 4.0)
    with started(project, database, tmp_path) as shop:
        shop.process.until(lambda: ask(shop.port, "/livez").status == 200)
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        browser.get(f"http://127.0.0.1:{shop.port}/")
        red = browser.execute_script(
            "return +getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"
        )
        assert (red < 64) is (scheme == "dark")
        assert min(browser.execute_script(CONTRAST)) >= 4.5
        browser.save_screenshot(str(tmp_path / f"page-{scheme}.png"))
        overflow = browser.execute_script(
            "return document.documentElement.scrollWidth > window.innerWidth"
        )
        assert not overflow
        shop.process.until(shop.ready)


def test_the_page_works_without_javascript(
    project: Project,
    database: Database,
    tmp_path: Path,
    browser_without_script: WebDriver,
) -> None:
    """It shows the step, refreshes by itself, and turns into the application."""
    browser = browser_without_script
    slow(project, 2, 2.5)
    with started(project, database, tmp_path) as shop:
        shop.process.until(lambda: migrating(shop))
        browser.get(f"http://127.0.0.1:{shop.port}/")
        assert text(browser, "heading") == "Back in a moment"
        assert text(browser, "step").startswith("Step ")
        until_title(browser, "The shop")
