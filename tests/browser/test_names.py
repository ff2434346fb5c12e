"""People name clusters: by mouse and by keyboard, seen in every view, after a reload and by others."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.conftest import MARKUP, Open
from browser.driving import GALLERY, GRAPH, at_rest, node_place, nodes, settled
from browser.serving import ROOT, serve
from neurocarto.runs.names import FILE_NAME
from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup

pytestmark = pytest.mark.browser
NAME, NOTE = "striped things", "Stripes, mostly.\nNot the zebra's legs."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo: naming writes into it."""
    return shutil.copytree(ROOT / "data" / "demo", tmp_path / "named", ignore=shutil.ignore_patterns(FILE_NAME))


@pytest.fixture
def address(browser: Browser, folder: Path) -> Iterator[str]:
    with serve(folder.parent) as started:
        yield f"{started.address}/?v=1&run=named"


@pytest.fixture
def lookup(folder: Path) -> Lookup:
    return Lookup(Run(folder))


def open_form(page: Page, cluster: int) -> None:
    page.get_by_role("button", name=f"Name cluster {cluster}, or note something about it").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()


def choose_in_graph(page: Page) -> int:
    """Select a cluster that is in sight in the graph."""
    box = page.locator(f"{GRAPH} .nc-canvas").bounding_box()
    assert box
    for cluster in nodes(page):
        x, y = node_place(page, cluster)
        if box["x"] < x < box["x"] + box["width"] and box["y"] + 60 < y < box["y"] + box["height"] - 40:
            page.mouse.click(x, y)
            page.wait_for_url(re.compile(rf"clusters={cluster}"))
            at_rest(page)
            return cluster
    raise AssertionError("no cluster is in sight")


def written(page: Page, cluster: int) -> list[str]:
    """Return what is written beneath a cluster in the graph, and what it is called under the mouse."""
    found: list[str] = page.locator(GRAPH).evaluate(
        "(root, id) => [root.view.nodes.get(id).label.replaceAll('\\n', ' '), root.view.describe(id)[0]]", cluster
    )
    return found


def search(page: Page, text: str) -> None:
    field = page.get_by_role("combobox", name="Search classes, clusters and neurons")
    field.fill("")
    field.fill(text)


def test_a_named_cluster_is_seen_everywhere_after_a_reload_and_by_others(
    visit: Open, address: str, folder: Path, lookup: Lookup
) -> None:
    page, other = visit(address), visit(address)
    settled(page)
    settled(other)
    cluster = choose_in_graph(page)
    computed = lookup.label(cluster)
    called = f"{NAME} · {computed}"
    open_form(page, cluster)
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_label("Note", exact=True).fill(NOTE)
    page.get_by_role("button", name="Save").click()
    card = page.locator(f'{GALLERY} .nc-full[data-card-cluster="{cluster}"]')
    expect(card.locator(".nc-title")).to_have_text(called)
    expect(card.locator(".nc-remark")).to_have_text(NOTE)
    expect(page.get_by_label("Name", exact=True)).to_have_count(0)
    at_rest(page)
    page.wait_for_function(f"document.querySelector('{GRAPH}').view.byId.get({cluster}).name === {json.dumps(called)}")
    assert written(page, cluster) == [NAME, called]
    for part in (NAME[3:9].upper(), str(cluster)):
        search(page, part)
        expect(page.get_by_role("option").filter(has_text=called)).to_have_count(1)
    page.keyboard.press("Escape")
    x, y = node_place(page, cluster)
    page.mouse.move(x, y)
    expect(page.locator(f"{GRAPH} .nc-tip strong")).to_have_text(called)
    page.reload()
    settled(page)
    expect(card.locator(".nc-title")).to_have_text(called)
    # Who was there before sees it as soon as something else is shown.
    assert choose_in_graph(other) == cluster
    expect(other.locator(f"{GALLERY} .nc-title").first).to_have_text(called)
    search(other, NAME)
    expect(other.get_by_role("option").filter(has_text=called)).to_have_count(1)
    stored = json.loads((folder / FILE_NAME).read_text())["runs"][lookup.run.manifest.run_id]
    assert stored[str(cluster)]["note"] == NOTE


def test_a_cluster_is_named_and_its_name_removed_by_keyboard_alone(visit: Open, address: str, lookup: Lookup) -> None:
    page = visit(f"{address}&clusters=3")
    settled(page)
    title = page.locator(f"{GALLERY} .nc-title").first
    pencil = page.get_by_role("button", name="Name cluster 3, or note something about it")
    pencil.press("Enter")
    expect(pencil).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(pencil).to_be_focused()
    expect(pencil).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type(MARKUP)
    page.keyboard.press("Enter")
    shown = " ".join(MARKUP.replace("\u202e", "").split())
    expect(title).to_have_text(f"{shown} · {lookup.label(3)}")
    expect(pencil).to_be_focused()
    assert page.locator('img[src="x"]').count() == 0
    assert page.evaluate("window.broken") is None
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name", exact=True)).to_have_value(shown)
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Remove")).to_be_focused()
    page.keyboard.press("Enter")
    expect(title).to_have_text(lookup.label(3))


def test_a_concept_of_a_cascade_is_named_where_it_is_pinned(visit: Open, address: str, lookup: Lookup) -> None:
    page = visit(f"{address.replace('/?', '/cascade?')}&clusters=153")
    pinned = page.get_by_role("region", name="Pinned concept")
    expect(pinned.locator("strong")).to_have_text(lookup.label(153))
    at_rest(page)
    open_form(page, 153)
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_label("Note", exact=True).fill(NOTE)
    page.get_by_label("Note", exact=True).press("Control+Enter")
    expect(pinned.locator("strong")).to_have_text(f"{NAME} · {lookup.label(153)}")
    expect(pinned).to_contain_text("Not the zebra's legs")
    page.get_by_role("link", name="Explore").click()
    expect(page.locator(f"{GALLERY} .nc-title").first).to_have_text(f"{NAME} · {lookup.label(153)}")


def test_a_server_that_only_shows_keeps_names_in_the_session(
    visit: Open, browser: Browser, folder: Path, lookup: Lookup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROCARTO_VIEW_ONLY", "1")
    with serve(folder.parent) as started:
        address = f"{started.address}/?v=1&run=named&clusters=3"
        page = visit(address)
        settled(page)
        title, called = page.locator(f"{GALLERY} .nc-title").first, f"{NAME} · {lookup.label(3)}"
        open_form(page, 3)
        page.get_by_label("Name", exact=True).fill(NAME)
        page.keyboard.press("Enter")
        expect(title).to_have_text(called)
        expect(page.get_by_text("Your names live in this session alone")).to_be_visible()
        at_rest(page)
        page.get_by_role("button", name="Names (1)").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download names").click()
        download.value.save_as(tmp_path / "downloaded.json")
        other = visit(address)
        settled(other)
        expect(other.locator(f"{GALLERY} .nc-title").first).to_have_text(lookup.label(3))
        other.get_by_role("button", name="Names (0)").click()
        other.locator('input[type="file"]').set_input_files(
            {"name": "names.json", "mimeType": "application/json", "buffer": b"[" * 100_000}
        )
        expect(other.get_by_text("Nothing was loaded: the file is not names.json")).to_be_visible()
        expect(other.locator('input[type="file"]')).to_have_count(1)
        other.locator('input[type="file"]').set_input_files(tmp_path / "downloaded.json")
        expect(other.get_by_text("names of 1 cluster are merged")).to_be_visible()
        expect(other.locator(f"{GALLERY} .nc-title").first).to_have_text(called)
    assert not (folder / FILE_NAME).exists()
