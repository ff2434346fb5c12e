"""What Explore shows while one looks around: cards, whole images, search, maps over time, patches on the map."""

import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from browser.conftest import MARKUP, Open
from browser.driving import (
    GALLERY,
    GRAPH,
    PROJECTION,
    axis_ranges,
    drag,
    graph_view,
    neuron_place,
    node_place,
    nodes,
    parameters,
    settled,
    wait_for_parameter,
    wait_without_parameter,
)

pytestmark = pytest.mark.browser


def test_a_cluster_under_the_mouse_shows_its_card_its_edges_and_its_neurons(page: Page) -> None:
    cluster = next(c for c in nodes(page) if c > 8)
    page.mouse.move(*node_place(page, cluster))
    tip = page.locator(f"{GRAPH} .nc-tip")
    expect(tip.locator("img")).to_have_count(20)  # four members, five patches each
    expect(tip).to_contain_text(f"cluster {cluster} in block")
    expect(page.locator(PROJECTION)).to_have_attribute("data-lit", "4")
    bright = page.locator(GRAPH).evaluate(
        "(root, id) => root.view.edges.get().every(e => (e.from === id || e.to === id) === (e.color.opacity > 0.5))",
        cluster,
    )
    assert bright
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()
    expect(page.locator(PROJECTION)).to_have_attribute("data-lit", "0")


def test_a_neuron_under_the_mouse_shows_its_card_and_frames_its_cluster(page: Page) -> None:
    page.mouse.move(*neuron_place(page, 5))
    tip = page.locator(f"{PROJECTION} .nc-tip")
    expect(tip.locator("img")).to_have_count(5)
    expect(tip).to_contain_text(re.compile(r"block\d/\d+.*cluster \d+"))
    assert page.locator(GRAPH).evaluate("root => root.view.lighted") is not None


def test_hovering_runs_no_page(page: Page) -> None:
    page.locator(GALLERY).evaluate("root => { const v = root.view; v.update = () => { window.ran = true; }; }")
    page.mouse.move(*neuron_place(page, 5))
    expect(page.locator(f"{PROJECTION} .nc-tip img").first).to_be_visible()
    page.mouse.move(*node_place(page, nodes(page)[0]))
    expect(page.locator(f"{GRAPH} .nc-tip img").first).to_be_visible()
    assert page.evaluate("window.ran") is None
    assert parameters(page) == {"v": ["1"], "run": ["planted"], "class": ["birds"]}


def test_a_patch_opens_its_whole_image_with_the_box(page: Page) -> None:
    page.locator(f"{GALLERY} .nc-patch").first.click()
    dialog = page.get_by_role("dialog", name="The whole image")
    for text in ("Label", "Network says", "Activation", "picture"):
        expect(dialog).to_contain_text(text)
    expect(dialog.locator(".nc-box")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.locator(f"{GALLERY} .nc-patch").nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_the_inspector_can_be_walked_along(page: Page) -> None:
    page.locator(f"{GALLERY} [data-cluster]").first.click()
    first = wait_for_parameter(page, "clusters", "[0-9]")
    settled(page)
    page.locator(f"{GALLERY} .nc-part [data-cluster]").first.click()
    page.wait_for_url(lambda url: f"clusters={first}" not in url)
    settled(page)
    page.locator(f"{GALLERY} [data-neuron]").first.click()
    neuron = wait_for_parameter(page, "neuron", "[0-9]")
    expect(page.locator(f"{GALLERY} .nc-part [data-neuron]")).to_have_count(10)
    expect(page.locator(PROJECTION)).to_have_attribute("data-related", re.compile(r"^(\d+ ){9}\d+$"))
    page.locator(f"{GALLERY} .nc-part [data-neuron]").first.click()
    page.wait_for_url(lambda url: f"neuron={neuron}&" not in f"{url}&")
    settled(page)
    other = page.locator(f'{GALLERY} [data-class]:not([data-class="birds"])').first
    name = other.get_attribute("data-class")
    other.click()
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("class") == [name])


@pytest.mark.parametrize("delay", [0, 10, 15, 17, 25, 50])
def test_a_question_asked_about_the_time_of_a_click_takes_nothing_of_it_back(
    visit: Open, server: str, delay: int
) -> None:
    page = visit(f"{server}/?run=planted&class=birds&neuron=69")
    settled(page)
    name = page.evaluate(
        """delay => {
            const other = document.querySelector('.nc-gallery [data-class]:not([data-class="birds"])');
            neurocarto.answers.ask("nothing");
            setTimeout(() => other.click(), delay);
            return other.dataset.class;
        }""",
        delay,
    )
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("class") == [name])
    settled(page)
    page.wait_for_timeout(500)
    assert parameters(page)["class"] == [name]
    shown = page.get_by_role("combobox", name="Class", exact=True)
    expect(shown).to_have_value(re.compile(re.escape(name)))


@pytest.mark.parametrize(
    ("typed", "found", "key", "value"),
    [
        ("fis", "fish", "class", "fish"),
        ("13", "cluster 13 in block1", "clusters", "13"),
        ("BIRDS 12", "birds 12/20", "clusters", "0"),
        ("block1/7", "block1/7", "neuron", "47"),
        ("k2/0", "block2/0", "neuron", "80"),
    ],
)
def test_search_finds_classes_clusters_and_neurons_by_keyboard(
    page: Page, typed: str, found: str, key: str, value: str
) -> None:
    page.keyboard.press("/")
    page.keyboard.type(typed)
    option = page.get_by_role("option").first
    expect(option).to_contain_text(found)
    expect(option).to_have_attribute("aria-selected", "true")
    marked = option.locator("mark")
    if marked.count():
        assert marked.first.inner_text().lower() in typed.lower()
    page.keyboard.press("Enter")
    wait_for_parameter(page, key, value)
    expect(page.get_by_role("listbox", name="Found")).to_be_hidden()


def test_search_says_when_nothing_is_found_and_counts_what_it_leaves_out(page: Page) -> None:
    box = page.get_by_role("combobox", name="Search classes, clusters and neurons")
    box.fill("zebra")
    expect(page.get_by_text("Nothing of that name")).to_be_visible()
    box.fill("fish")
    expect(page.get_by_role("group", name="Clusters")).to_contain_text("Clusters (9)")
    expect(page.get_by_role("group", name="Clusters")).to_contain_text("and 3 more")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option").nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(box).to_have_value("")


def test_maps_over_time_keep_the_zoom_and_travel_in_the_link(page: Page) -> None:
    page.get_by_role("button", name="Zoom in").first.click()
    zoomed = axis_ranges(page)
    slider = page.locator("input[data-choice=map]")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert wait_for_parameter(page, "map", "[0-9]") == "3"
    expect(page.locator(PROJECTION)).to_have_attribute("data-map", "3")
    expect(page.get_by_text("Map after 50 % of the images")).to_be_visible()
    expect(page.get_by_role("button", name="Lasso: draw")).to_be_disabled()
    np.testing.assert_allclose(axis_ranges(page), zoomed)
    page.keyboard.press("ArrowRight")
    wait_without_parameter(page, "map")
    expect(page.get_by_role("button", name="Lasso: draw")).to_be_enabled()


def test_playing_goes_through_all_maps_and_ends_on_the_last(page: Page) -> None:
    page.evaluate("""() => {
        const root = document.querySelector('.nc-projection');
        window.maps = [];
        new MutationObserver(() => window.maps.at(-1) === root.dataset.map || window.maps.push(root.dataset.map))
            .observe(root, { attributes: true, attributeFilter: ['data-map'] });
    }""")
    play = page.get_by_role("button", name="Play how the map came about")
    play.click()
    expect(play).to_have_text("■")
    expect(play).to_have_text("▶", timeout=20_000)
    assert page.evaluate("window.maps") == ["0", "1", "2", "3", "4"]
    assert "map" not in parameters(page)


def test_patches_stand_for_points_where_the_map_is_zoomed_in(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=1&run=planted&class=birds&pictures=off")
    settled(page)
    expect(page.locator(".nc-thumb")).to_have_count(0)
    page.get_by_label("Patches when zoomed in").check()
    wait_without_parameter(page, "pictures")
    # Few enough neurons that all are seen at once.
    expect(page.locator(".nc-thumb").first).to_be_visible()
    expect(page.locator(".nc-thumb").first).to_have_attribute("src", re.compile("^data:image/webp"))
    boxes = page.locator(PROJECTION).evaluate(
        """root => [...root.querySelectorAll('.nc-thumb')].map(thumb => {
            const box = thumb.getBoundingClientRect();
            return [box.x, box.y];
        })"""
    )
    assert all(
        max(abs(a[0] - b[0]), abs(a[1] - b[1])) > 40 for i, a in enumerate(boxes) for b in boxes[:i]
    )  # none covers another
    page.get_by_label("Patches when zoomed in").uncheck()
    wait_for_parameter(page, "pictures", "off")
    expect(page.locator(".nc-thumb")).to_have_count(0)


def test_a_box_selects_like_a_lasso_of_four_corners(page: Page) -> None:
    page.get_by_role("button", name="Box: draw").click()
    box = page.locator(f"{PROJECTION} .nc-stage").bounding_box()
    assert box is not None
    drag(page, [(box["x"] + 40, box["y"] + 40), (box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.8)])
    wait_for_parameter(page, "lasso", "[-0-9]")
    assert len(parameters(page)["lasso"][0].split("_")) == 4
    expect(page.locator(GALLERY)).to_contain_text("neurons in the lasso")


def test_zoom_of_both_views_survives_class_click_lasso_and_sliders(page: Page) -> None:
    page.get_by_role("button", name="Zoom in").first.click()
    page.locator(f"{GRAPH} .nc-tools").get_by_role("button", name="Zoom in").click()
    kept = axis_ranges(page), graph_view(page)

    def still_there() -> None:
        settled(page)
        np.testing.assert_allclose(axis_ranges(page), kept[0], rtol=1e-6)
        np.testing.assert_allclose(graph_view(page), kept[1], rtol=1e-6)

    page.locator(GRAPH).evaluate("(root, id) => root.view.pick(id, false)", nodes(page)[0])
    wait_for_parameter(page, "clusters", "[0-9]")
    still_there()
    page.locator("input[data-choice=min]").focus()
    page.keyboard.press("ArrowRight")
    wait_for_parameter(page, "min", "0.51")
    still_there()
    expect(page.locator("input[data-choice=min]")).to_be_focused()
    page.locator("input[data-choice=edges]").focus()
    page.keyboard.press("ArrowRight")
    wait_for_parameter(page, "edges", "4")
    still_there()
    page.get_by_role("button", name="Lasso: draw").click()
    box = page.locator(f"{PROJECTION} .nc-stage").bounding_box()
    assert box is not None
    x, y = box["x"], box["y"]
    drag(page, [(x + 60, y + 60), (x + 300, y + 60), (x + 300, y + 250), (x + 60, y + 250), (x + 60, y + 64)])
    wait_for_parameter(page, "lasso", "[-0-9]")
    still_there()
    page.get_by_role("combobox", name="Class", exact=True).click()
    page.get_by_role("option", name="fish (").click()
    wait_for_parameter(page, "class", "fish")
    still_there()


def test_a_view_fills_the_screen_and_comes_back(page: Page) -> None:
    for view in (PROJECTION, GRAPH):
        control = page.locator(f"{view} .nc-tools").get_by_role("button", name="full screen")
        control.click()
        page.wait_for_function(f"document.fullscreenElement?.matches('{view}')")
        control.click()
        page.wait_for_function("document.fullscreenElement === null")


def test_an_empty_graph_says_why_and_what_to_do(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=1&run=planted&class=birds&min=1")
    settled(page)
    expect(page.locator(f"{GRAPH} .nc-empty")).to_contain_text("No cluster passes importance 1.00")
    expect(page.locator(f"{GRAPH} .nc-empty")).to_contain_text("Lower it, or choose another class.")


def test_markup_shows_as_text_under_the_mouse_in_search_and_in_the_whole_image(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=1&run=markup")
    settled(page)
    page.mouse.move(*neuron_place(page, 5))
    expect(page.locator(f"{PROJECTION} .nc-tip img").first).to_be_visible()
    page.mouse.move(*node_place(page, nodes(page)[0]))
    expect(page.locator(f"{GRAPH} .nc-tip img").first).to_be_visible()
    page.locator(f"{GALLERY} .nc-patch").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("File")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("<img")
    expect(page.get_by_role("option").first).to_contain_text(MARKUP)
    page.keyboard.press("Enter")
    wait_for_parameter(page, "class", "%3Cimg")
    settled(page)
    assert page.locator('img[src="x"]').count() == 0
    assert page.evaluate("window.broken") is None
