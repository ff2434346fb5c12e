"""Projection, graph and gallery change one selection, and all show it."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from browser.conftest import MARKUP, START, Open
from browser.driving import (
    GALLERY,
    GRAPH,
    PROJECTION,
    axis_ranges,
    drag,
    neuron_place,
    node_place,
    nodes,
    parameters,
    settled,
    wait_for_parameter,
    wait_without_parameter,
)
from neurocarto.dashboard.selection import from_params
from neurocarto.runs.store import Run
from neurocarto.views.highlight import highlight
from neurocarto.views.lookup import Lookup

pytestmark = pytest.mark.browser


def test_clicking_a_cluster_shows_its_neurons_and_changes_the_url(page: Page) -> None:
    cluster = nodes(page)[0]
    page.mouse.click(*node_place(page, cluster))
    assert wait_for_parameter(page, "clusters", "[0-9]") == str(cluster)
    expect(page.locator(PROJECTION)).to_have_attribute("data-highlighted", "4")
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", str(cluster))
    expect(page.locator(f'{GALLERY} [data-card-cluster="{cluster}"] .nc-row')).to_have_count(4)
    page.mouse.click(*node_place(page, cluster))
    expect(page.locator(PROJECTION)).to_have_attribute("data-highlighted", "0")
    wait_without_parameter(page, "clusters")


def test_control_click_adds_a_cluster(page: Page) -> None:
    first, second = nodes(page)[:2]
    page.mouse.click(*node_place(page, first))
    wait_for_parameter(page, "clusters", str(first))
    page.keyboard.down("Control")
    page.mouse.click(*node_place(page, second))
    page.keyboard.up("Control")
    assert wait_for_parameter(page, "clusters", rf"{first}\.") == f"{first}.{second}"
    expect(page.locator(PROJECTION)).to_have_attribute("data-highlighted", "8")


def test_clicking_a_neuron_shows_its_patches_and_cluster(page: Page) -> None:
    page.mouse.click(*neuron_place(page, 5))
    neuron = int(wait_for_parameter(page, "neuron", "[0-9]"))
    expect(page.locator(f'{GALLERY} [data-card-neuron="{neuron}"] img').first).to_be_visible()
    expect(page.locator(PROJECTION)).to_have_attribute("data-neuron", str(neuron))


def test_shift_click_keeps_the_clusters_and_adds_the_neurons_own(page: Page) -> None:
    cluster = next(c for c in nodes(page) if c > 1)
    page.mouse.click(*node_place(page, cluster))
    wait_for_parameter(page, "clusters", str(cluster))
    page.keyboard.down("Shift")
    page.mouse.click(*neuron_place(page, 0))
    page.keyboard.up("Shift")
    wait_for_parameter(page, "neuron", "[0-9]")
    assert parameters(page)["clusters"][0].startswith(f"{cluster}")


def test_a_lasso_selects_what_lies_in_it_everywhere(page: Page, runs: Path) -> None:
    page.get_by_role("button", name="Lasso").click()
    box = page.locator(f"{PROJECTION} .nc-stage").bounding_box()
    assert box is not None
    left, top, right, bottom = (
        box["x"] + 60,
        box["y"] + 60,
        box["x"] + box["width"] * 0.6,
        box["y"] + box["height"] - 40,
    )
    drag(page, [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 4)])
    wait_for_parameter(page, "lasso", "[-0-9]")
    chosen = from_params(parameters(page)).selection
    assert 3 <= len(chosen.lasso) <= 32
    expected = highlight(Lookup(Run(runs / "planted")), class_="birds", lasso=chosen.lasso)
    count = int(expected.selected.sum())
    assert count > 10
    expect(page.locator(PROJECTION)).to_have_attribute("data-highlighted", str(count))
    shown = [c for c in expected.clusters if c in nodes(page)]
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", " ".join(map(str, shown)))
    expect(page.locator(GALLERY)).to_contain_text(f"{count} neurons in the lasso")
    expect(page.locator(".select-outline, .outline-controllers > *")).to_have_count(0)


def test_zoom_and_pan_survive_a_click_in_the_graph_and_a_change_of_class(page: Page) -> None:
    toolbar = page.locator(f"{PROJECTION} .nc-tools")
    toolbar.get_by_role("button", name="Zoom in").click()
    zoomed = axis_ranges(page)
    page.mouse.click(*node_place(page, nodes(page)[0]))
    wait_for_parameter(page, "clusters", "[0-9]")
    page.get_by_role("combobox", name="Class", exact=True).click()
    page.get_by_role("option", name="fish").click()
    wait_for_parameter(page, "class", "fish")
    settled(page)
    np.testing.assert_allclose(axis_ranges(page), zoomed)


def test_the_keyboard_reaches_a_cluster_and_a_neuron(page: Page) -> None:
    page.locator(f"{GRAPH} .nc-stage").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    wait_for_parameter(page, "clusters", "[0-9]")
    page.locator(f"{PROJECTION} .nc-stage").focus()
    for key in ("ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    wait_for_parameter(page, "neuron", "[0-9]")
    page.keyboard.press("Escape")
    expect(page.locator(PROJECTION)).to_have_attribute("data-neuron", "")
    wait_without_parameter(page, "neuron")
    for key in ("b", "ArrowRight", "ArrowRight", "ArrowUp", "b"):
        page.keyboard.press(key)
    assert len(wait_for_parameter(page, "lasso", "[-0-9]").split("_")) == 4
    before = axis_ranges(page)
    page.keyboard.press("Shift+ArrowRight")
    assert axis_ranges(page)[0] > before[0]


def test_names_full_of_markup_show_as_text(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=1&run=markup")
    settled(page)
    expect(page.locator(GALLERY)).to_contain_text(MARKUP)
    page.get_by_role("combobox", name="Class", exact=True).click()
    page.get_by_role("option", name=MARKUP).click()
    settled(page)
    cluster = nodes(page)[0]
    page.mouse.move(*node_place(page, cluster))
    expect(page.locator(f"{GRAPH} .nc-tip")).to_be_visible()
    page.mouse.click(*node_place(page, cluster))
    wait_for_parameter(page, "clusters", "[0-9]")
    assert page.locator('img[src="x"]').count() == 0
    assert page.evaluate("window.broken") is None


def test_a_second_visitor_sees_nothing_of_the_first_ones_selection(page: Page, visit: Open, server: str) -> None:
    page.mouse.click(*node_place(page, nodes(page)[0]))
    wait_for_parameter(page, "clusters", "[0-9]")
    other = visit(server + START)
    settled(other)
    expect(other.locator(PROJECTION)).to_have_attribute("data-highlighted", "0")


def test_choosing_colours_keeps_the_zoom_and_the_focus(page: Page) -> None:
    before = axis_ranges(page)
    page.get_by_role("button", name="Zoom in").first.click()
    zoomed = axis_ranges(page)
    assert zoomed != before
    page.get_by_label("Colour", exact=True).focus()
    page.get_by_label("Colour", exact=True).select_option("rate")
    wait_for_parameter(page, "colour", "rate")
    expect(page.locator(PROJECTION)).to_have_attribute("data-colours", re.compile(" rate "))
    assert axis_ranges(page) == zoomed
    expect(page.get_by_label("Colour", exact=True)).to_be_focused()
    # One even band per colour: nine steps, and the neutral one.
    scale = page.locator(PROJECTION).evaluate("root => root.view.plot.data[0].marker.colorscale.map(([at]) => at)")
    assert scale == [edge / 10 for i in range(10) for edge in (i, i + 1)]
