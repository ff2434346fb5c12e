"""Every entrypoint by itself: what it serves, what a first visitor by a link gets, and how it looks."""

import importlib.util
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.conftest import Open
from browser.driving import GALLERY, GRAPH, PROJECTION, at_rest, settled
from browser.serving import ROOT, serve
from neurocarto.dashboard.components.scripts import SCRIPTS
from neurocarto.dashboard.shell import PAGES

pytestmark = pytest.mark.browser
ENTRYPOINTS = ("app.py", "deploy/view_only.py")
SEEN = {
    "explore": PROJECTION,
    "cascade": ".nc-gallery",
    "classes": ".nc-matrix",
    "quality": ".nc-gallery",
    "study": '[class*="st-key-nc_start"] button',
    "about": '[data-testid="stMarkdown"]',
}
"""What shows that a page has drawn."""


@pytest.fixture(scope="module", params=ENTRYPOINTS)
def entrypoint(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def address(browser: Browser, runs: Path, entrypoint: str) -> Iterator[str]:
    with serve(runs, entrypoint) as started:
        yield started.address


def drawn(page: Page, name: str) -> None:
    expect(page.locator(SEEN.get(name, ".stMainBlockContainer")).first).to_be_visible(timeout=20_000)
    at_rest(page)
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)


@pytest.mark.parametrize("name", PAGES)
def test_the_first_request_to_a_fresh_server_may_be_any_link(
    visit: Open, runs: Path, entrypoint: str, name: str
) -> None:
    with serve(runs, entrypoint) as started:
        page = visit(f"{started.address}/{name}?v=1&run=planted&class=fish")
        drawn(page, name)
        assert "class=fish" in page.url
        if name in {"explore", "cascade", "classes", "quality", "about"}:
            expect(page.get_by_role("combobox", name="Class", exact=True)).to_have_value(re.compile("^fish"))


def test_every_page_is_reached_by_the_navigation(visit: Open, address: str) -> None:
    page = visit(f"{address}/?v=1&run=planted&class=birds")
    settled(page)
    for name, (_, title) in [*PAGES.items()][1:] + [*PAGES.items()][:1]:
        page.get_by_role("link", name=title, exact=True).click()
        drawn(page, name)


def test_a_view_may_lead_to_another_page(visit: Open, address: str) -> None:
    page = visit(f"{address}/classes?v=1&run=planted&class=birds&with=fish")
    drawn(page, "classes")
    page.locator(".nc-trio section button[data-cluster]").first.click()
    page.get_by_text("Open in Explore").first.click()
    expect(page.locator(f"{GALLERY} .nc-card").first).to_be_visible()
    expect(page.locator(GRAPH)).to_be_visible()


def test_scripts_are_served_and_nothing_else_of_the_folder(address: str) -> None:
    for name in SCRIPTS:
        with urllib.request.urlopen(f"{address}/app/static/{name}") as answer:
            assert answer.status == 200
            assert "javascript" in answer.headers["Content-Type"]
            assert len(answer.read()) > 100_000
    for path in ("../requirements.txt", "..%2frequirements.txt", "view_only.py"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{address}/app/static/{path}")


def test_the_projects_theme_and_settings_hold(visit: Open, address: str) -> None:
    page = visit(f"{address}/study?v=1&run=planted")
    drawn(page, "study")
    start = page.locator(SEEN["study"])
    assert start.evaluate("button => getComputedStyle(button).backgroundColor") == "rgb(178, 58, 76)"
    assert start.evaluate("button => getComputedStyle(button).borderRadius") == "8px"
    expect(page.locator('[data-testid="stAppDeployButton"]')).to_have_count(0)


def test_it_starts_from_any_folder(visit: Open, runs: Path, tmp_path: Path, entrypoint: str) -> None:
    with serve(runs, str(ROOT / entrypoint), folder=tmp_path) as started:
        page = visit(f"{started.address}/?v=1&run=planted&class=birds")
        settled(page)
        assert [*tmp_path.iterdir()] == []


def test_looking_only_keeps_no_answers_and_offers_them(visit: Open, runs: Path) -> None:
    with serve(runs, "deploy/view_only.py") as started:
        page = visit(f"{started.address}/study?v=1&run=planted&study=77&questions=2")
        drawn(page, "study")
        page.locator(SEEN["study"]).click()
        for number in (1, 2):
            expect(page.get_by_text(f"Question {number} of 2")).to_be_visible()
            page.locator(".nc-option").first.click()
        expect(page.get_by_text("This server keeps no answers")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download your answers").click()
        assert len(download.value.path().read_text().splitlines()) == 3
    assert not (runs / "planted" / "studies" / "77-2.csv").exists()


SECRETS = """
[auth]
redirect_uri = "http://localhost:8501/oauth2callback"
cookie_secret = "a secret of a test, long enough"

[auth.google]
client_id = "x"
client_secret = "x"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""


@pytest.mark.parametrize("name", ["", "quality"])
def test_secrets_with_sign_in_show_how_to_sign_in_and_nothing_else(
    visit: Open, runs: Path, tmp_path: Path, entrypoint: str, name: str
) -> None:
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(SECRETS)
    with serve(runs, str(ROOT / entrypoint), folder=tmp_path) as started:
        page = visit(f"{started.address}/{name}?v=1&run=planted&class=birds")
        if importlib.util.find_spec("authlib"):
            expect(page.get_by_role("button", name="Sign in with Google")).to_be_visible()
        else:
            expect(page.get_by_text("pip install -r requirements-auth.txt")).to_be_visible()
        at_rest(page)
        expect(page.get_by_role("navigation")).to_have_count(0)
        expect(page.get_by_text("planted")).to_have_count(0)
        expect(page.locator(f"{PROJECTION}, {GRAPH}, {GALLERY}, .nc-figure")).to_have_count(0)
