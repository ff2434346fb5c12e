"""Classes: the matrix and the lists choose what is compared, and a link opens exactly that."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from browser.conftest import MARKUP, Open
from browser.driving import GRAPH, node_place, nodes, parameters, wait_for_parameter

pytestmark = pytest.mark.browser
MATRIX = ".nc-matrix"
TOOLS = '<b>tools & "signs"</b>'


def opened(visit: Open, address: str) -> Page:
    page = visit(address)
    expect(page.locator(MATRIX)).to_have_attribute("data-version", re.compile(".+"), timeout=20_000)
    return page


def cell_place(page: Page, row: str, column: str) -> tuple[float, float]:
    """Return where the cell of two classes is on the screen."""
    place = page.locator(MATRIX).evaluate(
        """(root, [row, column]) => {
            const { view } = root, { xaxis, yaxis } = view.plot._fullLayout;
            const box = view.plot.getBoundingClientRect();
            const [x, y] = [view.places.get(column), view.places.get(row)];
            return [box.left + xaxis._offset + xaxis.l2p(x), box.top + yaxis._offset + yaxis.l2p(y)];
        }""",
        [row, column],
    )
    return place[0], place[1]


def expect_compared(page: Page, first: str, second: str) -> None:
    expect(page.locator(MATRIX)).to_have_attribute(
        "data-pair", json.dumps([first, second], separators=(",", ":"), ensure_ascii=False)
    )
    expect(page.locator(".nc-trio h4").first).to_contain_text(f"Only {first}")
    expect(page.locator(".nc-trio h4").last).to_contain_text(f"Only {second}")


def test_clicking_a_cell_compares_its_classes_in_three_columns(visit: Open, server: str) -> None:
    page = opened(visit, f"{server}/classes?v=1&run=planted&class=birds")
    expect(page.locator(".nc-offer .nc-card")).to_have_count(2)
    page.mouse.move(*cell_place(page, "fish", "birds"))
    expect(page.locator(f"{MATRIX} .nc-tip")).to_contain_text("clusters shared")
    page.mouse.click(*cell_place(page, "fish", "birds"))
    assert (wait_for_parameter(page, "with", "birds"), parameters(page)["class"]) == ("birds", ["fish"])
    expect_compared(page, "fish", "birds")
    expect(page.locator(GRAPH)).to_have_attribute("data-version", re.compile(".+"))
    zones = page.locator(GRAPH).evaluate("root => root.view.content.zones.map(zone => zone.name)")
    assert [re.sub(r" \(\d+\)", "", name) for name in zones] == ["Only fish", "Both", "Only birds"]
    columns = page.locator(GRAPH).evaluate(
        """root => {
            const { nodes, zones } = root.view.content;
            return zones.map(({ left, right }) => nodes.filter(({ x }) => x > left && x < right).length);
        }"""
    )
    assert min(columns) > 0
    assert sum(columns) == page.locator(GRAPH).evaluate("root => root.view.byId.size")


def test_the_keyboard_walks_the_matrix_and_compares(visit: Open, server: str) -> None:
    page = opened(visit, f"{server}/classes?v=1&run=planted&class=birds&with=fish")
    expect_compared(page, "birds", "fish")
    assert page.locator(MATRIX).evaluate("root => root.view.names") == ["fish", "birds", TOOLS]
    page.locator(f"{MATRIX} .nc-stage").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"{MATRIX} [aria-live]")).to_have_text("birds · fish, similarity 0.60")
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"{MATRIX} [aria-live]")).to_have_text(f"{TOOLS} · fish, similarity 0.52")
    page.keyboard.press("Enter")
    wait_for_parameter(page, "class", "%3Cb")
    expect_compared(page, TOOLS, "fish")
    assert (parameters(page)["class"], parameters(page)["with"]) == ([TOOLS], ["fish"])


def test_lists_and_graph_select_the_same_cluster(visit: Open, server: str) -> None:
    page = opened(visit, f"{server}/classes?v=1&run=planted&class=birds&with=fish")
    page.locator(".nc-trio section").nth(1).locator("button[data-cluster]").first.click()
    cluster = wait_for_parameter(page, "clusters", "[0-9]+")
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", cluster)
    expect(page.locator(f'.nc-ranked li.nc-selected[data-card-cluster="{cluster}"]')).to_have_count(1)
    other = next(node for node in nodes(page) if str(node) != cluster)
    page.mouse.click(*node_place(page, other))
    wait_for_parameter(page, "clusters", str(other))
    page.locator(f'.nc-chosen[data-card-cluster="{other}"]').get_by_text("Open in Explore").click()
    page.wait_for_url(re.compile(rf"/(explore)?\?.*clusters={other}"))
    expect(page.locator(f'[data-card-cluster="{other}"] .nc-row').first).to_be_visible()
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", str(other))
    assert page.locator(GRAPH).evaluate("root => root.view.zones") == []


def test_names_full_of_markup_show_as_text(visit: Open, server: str) -> None:
    page = opened(visit, f"{server}/classes?v=1&run=markup&class=fish")
    page.locator(".nc-offer .nc-card", has_text=MARKUP).click()
    expect_compared(page, "fish", MARKUP)
    page.mouse.move(*cell_place(page, MARKUP, "fish"))
    expect(page.locator(f"{MATRIX} .nc-tip")).to_contain_text(MARKUP)
    expect(page.locator(f"{MATRIX} .ytick text", has_text=MARKUP[:16])).to_be_visible()
    assert page.locator('img[src="x"]').count() == 0
    assert page.evaluate("window.broken") is None


def test_choosing_a_confusion_shows_its_clusters_and_images_and_the_link_opens_it(visit: Open, server: str) -> None:
    page = opened(visit, f"{server}/classes?v=1&run=planted&class=birds&with=fish")
    page.locator(".nc-choice", has_text=f"{TOOLS} → birds").click()
    wait_for_parameter(page, "confusion", ".+&confusion=birds")
    for shown in (page, opened(visit, page.url)):
        expect(shown.locator(".nc-choice[aria-pressed=true]")).to_contain_text(f"{TOOLS} → birds")
        expect(shown.locator(".nc-wide li")).to_have_count(5)
        expect(shown.locator(".nc-pictures [data-image]")).to_have_count(3)
        expect_compared(shown, "birds", "fish")
    page.locator(".nc-pictures [data-image]").first.click()
    expect(page.locator("dialog.nc-dialog dd").nth(1)).to_contain_text("birds")
    expect(page.locator("dialog.nc-dialog .nc-box")).to_have_count(0)
