"""How tests look at the views and use them, as a person would: by mouse, keyboard and address bar."""

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

PROJECTION, GRAPH, GALLERY = ".nc-projection", ".nc-graph", ".nc-gallery"


def settled(page: Page) -> None:
    """Wait until both views have drawn and the script has come to rest."""
    for view in (PROJECTION, GRAPH):
        expect(page.locator(view)).to_have_attribute("data-version", re.compile(".+"), timeout=20_000)
    at_rest(page)


def at_rest(page: Page) -> None:
    """Wait until the script has come to rest; while it runs, what one is about to click may be replaced."""
    expect(page.locator('[data-test-script-state="notRunning"]')).to_have_count(1, timeout=20_000)


def parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query, keep_blank_values=True)


def wait_for_parameter(page: Page, name: str, pattern: str) -> str:
    page.wait_for_url(re.compile(rf"[?&]{name}={pattern}"), timeout=10_000)
    return parameters(page)[name][0]


def wait_without_parameter(page: Page, name: str) -> None:
    page.wait_for_url(lambda url: name not in parse_qs(urlsplit(url).query), timeout=10_000)


def node_place(page: Page, cluster: int) -> tuple[float, float]:
    """Return where a cluster's picture is on the screen."""
    place = page.locator(GRAPH).evaluate(
        """(root, id) => {
            const box = root.querySelector('.nc-canvas').getBoundingClientRect();
            const at = root.view.network.canvasToDOM(root.view.network.getPosition(id));
            return [box.left + at.x, box.top + at.y];
        }""",
        cluster,
    )
    return place[0], place[1]


def nodes(page: Page) -> list[int]:
    found: list[int] = page.locator(GRAPH).evaluate("root => [...root.view.byId.keys()].filter(id => id >= 0)")
    return found


def neuron_place(page: Page, neuron: int) -> tuple[float, float]:
    """Return where a neuron's point is on the screen."""
    place = page.locator(PROJECTION).evaluate(
        """(root, i) => {
            const { view } = root, { xaxis, yaxis } = view.plot._fullLayout;
            const box = view.plot.getBoundingClientRect();
            return [box.left + xaxis._offset + xaxis.l2p(view.x[i]), box.top + yaxis._offset + yaxis.l2p(view.y[i])];
        }""",
        neuron,
    )
    return place[0], place[1]


def drag(page: Page, corners: list[tuple[float, float]]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()


def axis_ranges(page: Page) -> list[float]:
    ranges: list[float] = page.locator(PROJECTION).evaluate(
        "root => [...root.view.plot._fullLayout.xaxis.range, ...root.view.plot._fullLayout.yaxis.range]"
    )
    return ranges


def graph_view(page: Page) -> list[float]:
    """Return where the graph is moved to and how far it is zoomed."""
    view: list[float] = page.locator(GRAPH).evaluate(
        "root => { const n = root.view.network, at = n.getViewPosition(); return [at.x, at.y, n.getScale()]; }"
    )
    return view
