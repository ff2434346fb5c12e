"""A report opened from disk in a browser that lets nothing out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from browser.conftest import MARKUP
from neurocarto.views.report import write_report

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def reports(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    made = {
        "demo": (ROOT / "data" / "demo", "bird"),
        "run": (runs / "planted", ""),
        "class": (runs / "planted", "birds"),
    }
    made |= {"markup": (runs / "markup", MARKUP)}
    return {name: write_report(run, folder / f"{name}.html", class_) for name, (run, class_) in made.items()}


@pytest.fixture
def opened(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what was asked for or went wrong on it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page, said = context.new_page(), []
    context.route("**/*", lambda route: (said.append(route.request.url), route.continue_()))
    page.on("request", lambda request: said.append(request.url))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("console", lambda message: said.append(f"console: {message.text}"))
    yield page, said
    context.close()


@pytest.mark.parametrize("name", ["demo", "run", "markup"])
def test_a_report_opens_from_disk_and_asks_for_nothing_else(
    opened: tuple[Page, list[str]], reports: dict[str, Path], name: str
) -> None:
    page, said = opened
    address = reports[name].as_uri()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    assert {url for url in said if not url.startswith("data:")} == {address}
    assert page.evaluate("window.broken") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("name", ["demo", "run"])
def test_a_report_prints_light_and_within_the_paper(
    opened: tuple[Page, list[str]], reports: dict[str, Path], name: str
) -> None:
    page, _ = opened
    page.goto(reports[name].as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = page.pdf(prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    assert 4 <= printed.count(b"/Type /Page\n") <= 40
    page.set_viewport_size({"width": 695, "height": 1000})  # what the margins leave of A4, at 96 dots an inch
    assert page.evaluate("document.documentElement.scrollWidth") <= 695


def test_a_report_follows_the_readers_theme(opened: tuple[Page, list[str]], reports: dict[str, Path]) -> None:
    page, _ = opened
    page.goto(reports["class"].as_uri())
    seen = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        seen.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert seen == ["rgb(255, 255, 255)", "rgb(20, 23, 28)"]


def test_patches_are_drawn_although_each_is_embedded_once(
    opened: tuple[Page, list[str]], reports: dict[str, Path]
) -> None:
    page, _ = opened
    page.goto(reports["class"].as_uri())
    card = page.locator(".nc-card").first
    card.scroll_into_view_if_needed()
    patch = card.locator(".nc-patch").first
    blank = patch.screenshot()
    page.evaluate("document.querySelector('.nc-album').remove()")
    assert patch.screenshot() != blank
