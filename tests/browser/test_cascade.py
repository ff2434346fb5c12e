"""The cascade plays, pins and leads on; a link opens it again."""

import re

import pytest
from playwright.sync_api import Page, expect

from browser.conftest import MARKUP, Open
from browser.driving import GALLERY, GRAPH, at_rest, parameters, settled, wait_for_parameter

pytestmark = pytest.mark.browser
CASCADE = ".nc-cascade"
START = "/cascade?v=1&run=planted&class=birds&clusters=12"


def drawn(page: Page) -> None:
    expect(page.locator(CASCADE)).to_have_attribute("data-version", re.compile(".+"), timeout=20_000)
    at_rest(page)


@pytest.fixture
def page(visit: Open, server: str) -> Page:
    page = visit(server + START)
    drawn(page)
    return page


def neighbour(page: Page) -> tuple[int, float, float]:
    """Return a cluster one step away and where it is on the screen."""
    found = page.locator(CASCADE).evaluate(
        """root => {
            const { view } = root, box = root.querySelector('.nc-canvas').getBoundingClientRect();
            const node = [...view.byId.values()].find(({ id, step }) => id >= 0 && Math.abs(step) === 1);
            const at = view.network.canvasToDOM(view.network.getPosition(node.id));
            return [node.id, box.left + at.x, box.top + at.y];
        }"""
    )
    return found[0], found[1], found[2]


def visible(page: Page) -> list[int]:
    """Return the distances of the nodes and edges' ends that are drawn."""
    steps: list[int] = page.locator(CASCADE).evaluate(
        """root => {
            const { view } = root, far = (id) => Math.abs(view.byId.get(id).step);
            const shown = (items) => items.get().filter((item) => !item.hidden);
            const ends = shown(view.edges).flatMap(({ from, to }) => [far(from), far(to)]);
            return [...shown(view.nodes).map(({ id }) => far(id)), ...ends];
        }"""
    )
    return steps


def test_steps_are_revealed_by_slider_button_and_key(page: Page) -> None:
    slider = page.get_by_role("slider", name="Steps shown from the start")
    last = int(slider.get_attribute("max") or "0")
    assert last > 0
    slider.fill("0")
    assert set(visible(page)) == {0}
    page.get_by_role("button", name="Play").click()
    expect(page.locator(CASCADE)).to_have_attribute("data-up-to", str(last), timeout=1500 * (last + 1))
    assert set(visible(page)) == set(range(last + 1))
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.locator(f"{CASCADE} .nc-stage").focus()
    page.keyboard.press("Space")
    expect(page.locator(CASCADE)).to_have_attribute("data-up-to", "0")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_a_click_pins_and_the_pinned_opens_in_explore_or_is_the_new_start(page: Page) -> None:
    cluster, x, y = neighbour(page)
    page.mouse.click(x, y)
    expect(page.locator(CASCADE)).to_have_attribute("data-pinned", str(cluster))
    pinned = page.get_by_role("region", name="Pinned concept")
    expect(pinned).to_contain_text(f"cluster {cluster} in")
    assert parameters(page)["clusters"] == ["12"]
    pinned.get_by_role("button", name="Start the cascade at").click()
    assert wait_for_parameter(page, "clusters", f"{cluster}(&|$)") == str(cluster)
    expect(page.locator(CASCADE)).to_have_attribute("data-highlighted", str(cluster))
    pinned.get_by_role("button", name="in Explore").click()
    settled(page)
    expect(page.locator(f'{GALLERY} [data-card-cluster="{cluster}"]')).to_be_visible()
    assert parameters(page)["clusters"] == [str(cluster)]
    expect(page.locator(GRAPH)).to_be_visible()


def test_the_keyboard_walks_pins_and_leads_from_the_list_to_explore(page: Page) -> None:
    page.locator(f"{CASCADE} .nc-stage").focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(CASCADE)).not_to_have_attribute("data-pinned", "12")
    leading = page.locator(f"{GALLERY} [data-step] [data-page=explore]").first
    cluster = leading.get_attribute("data-cluster")
    leading.focus()
    page.keyboard.press("Enter")
    settled(page)
    assert parameters(page)["clusters"] == [cluster]


def test_the_concepts_per_step_are_chosen_and_a_link_brings_them_back(page: Page, visit: Open) -> None:
    page.locator("[data-choice=branches]").fill("1")
    wait_for_parameter(page, "branches", "1")
    expect(page.locator(CASCADE)).to_contain_text("Up to 1 per step")
    other = visit(page.url)
    drawn(other)
    count = "root => root.view.byId.size"
    assert other.locator(CASCADE).evaluate(count) == page.locator(CASCADE).evaluate(count)
    expect(other.locator("[data-choice=branches]")).to_have_value("1")


def test_names_full_of_markup_show_as_text(visit: Open, server: str) -> None:
    page = visit(f"{server}/cascade?v=1&run=markup&clusters=12")
    drawn(page)
    expect(page.get_by_role("region", name="Pinned concept")).to_contain_text(MARKUP)
    expect(page.locator(f"{GALLERY} [data-step]").first).to_contain_text(re.compile("fish|birds|<img"))
    assert page.locator('img[src="x"]').count() == 0
    assert page.evaluate("window.broken") is None


@pytest.mark.parametrize("pause", [0, 60, 120, 180])
def test_a_click_that_comes_after_the_page_has_changed_raises_nothing(page: Page, pause: int) -> None:
    leading = page.locator(f"{GALLERY} [data-step] [data-page=explore]").first
    cluster = leading.get_attribute("data-cluster")
    leading.evaluate("(one, pause) => { one.click(); setTimeout(() => one.click(), pause); }", pause)
    settled(page)
    page.wait_for_timeout(1000)
    assert parameters(page)["clusters"] == [cluster]
    expect(page.get_by_text("encountered an error")).to_have_count(0)
