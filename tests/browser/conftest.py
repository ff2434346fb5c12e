"""A real server and a real browser. Every page fails its test when it asks any other host for anything."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright
from synthetic import write_synthetic_run

from browser.driving import settled
from browser.serving import CHROMIUM, FLAGS, serve

MARKUP = '<img src="x" onerror="window.broken=1"> & **bold** :red[x] $a$ \u202eאב 🐦'
START = "/?v=1&run=planted&class=birds"
MENDED = "delta path"
Open = Callable[[str], Page]
expect.set_options(timeout=20_000)  # a cold server beside another busy process takes longer than the usual five seconds


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_synthetic_run(folder / "planted", judges=("EfficientNet-Lite2", "ResNet-50"), halves=True)
    write_synthetic_run(folder / "markup", classes=(MARKUP, "fish", "birds"), judges=(f"judge {MARKUP}",))
    write_synthetic_run(folder / "unscored", quality=False)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        message = "Chromium is not installed; install it with: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def server(browser: Browser, runs: Path) -> Iterator[str]:
    with serve(runs) as started:
        yield started.address


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    yield context
    context.close()


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open an address in a new browser context; fail at the end on script errors and requests to other hosts.

    In a test marked `mends`, an error of Streamlit's after which the app loads itself anew (components/common.js) is
    none: the test goes on, and has to find what it looks for.
    """
    problems: list[str] = []
    mends = request.node.get_closest_marker("mends") is not None

    def failed(error: Error) -> None:
        if not mends or MENDED not in str(error):
            problems.append(f"script error: {error}")

    def watch(page: Page, host: str) -> None:
        page.on("pageerror", failed)
        page.on("request", lambda request: _check_host(request.url, host, problems))

    with ExitStack() as contexts:

        def open_page(address: str) -> Page:
            context = browser.new_context(viewport={"width": 1280, "height": 1000})
            contexts.callback(context.close)
            page = context.new_page()
            watch(page, urlsplit(address).netloc)
            page.goto(address)
            return page

        yield open_page
    assert problems == []


@pytest.fixture
def page(visit: Open, server: str) -> Page:
    """Explore, drawn, on the planted run's birds."""
    page = visit(server + START)
    settled(page)
    return page


def _check_host(url: str, host: str, problems: list[str]) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"data", "blob"} and parts.netloc != host:
        problems.append(f"request to another host: {url}")
