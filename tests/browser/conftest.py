"""A real server and a real browser. Every page fails its test when it asks any other host for anything."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from synthetic import write_synthetic_run

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARKUP = '<img src="x" onerror="window.broken=1"> & **bold** :red[x] $a$ \u202eאב 🐦'
Open = Callable[[str], Page]
expect.set_options(timeout=20_000)  # a cold server beside another busy process takes longer than the usual five seconds


@contextmanager
def serve(runs: Path) -> Iterator[str]:
    """Start the app on a free port and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.address", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--server.port", str(port)],
        cwd=ROOT,
        env={**os.environ, "NEUROCARTO_RUNS": str(runs)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_synthetic_run(folder / "planted")
    write_synthetic_run(folder / "markup", classes=(MARKUP, "fish", "birds"))
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
    with serve(runs) as address:
        yield address


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    yield context
    context.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open an address in a new browser context; fail at the end on script errors and requests to other hosts."""
    problems: list[str] = []

    def watch(page: Page, host: str) -> None:
        page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
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


def _check_host(url: str, host: str, problems: list[str]) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"data", "blob"} and parts.netloc != host:
        problems.append(f"request to another host: {url}")
