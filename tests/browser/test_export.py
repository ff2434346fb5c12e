"""Taking things away from a page: every file that Export offers, made when it is asked for."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import networkx as nx
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from browser.conftest import MARKUP, Open
from browser.driving import at_rest, parameters, settled

pytestmark = pytest.mark.browser
Take = Callable[..., tuple[str, bytes]]


def opened(page: Page) -> Take:
    """Open Export, and return what clicks a button in it and gets the file, with its name."""
    page.get_by_role("button", name="Export").click()
    body = page.locator(".st-key-nc_export_body")
    expect(body.get_by_role("button", name="Copy citation and link")).to_be_visible()

    def take(name: str, number: int = 0) -> tuple[str, bytes]:
        with page.expect_download() as waiting:
            body.get_by_role("button", name=name, exact=True).nth(number).click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    return take


def test_tables_and_the_graph_are_those_of_the_selection(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=1&run=planted&class=birds&clusters=3.4")
    settled(page)
    take = opened(page)
    name, clusters = take("CSV", 0)
    assert name == "planted-birds-clusters.csv"
    assert pd.read_csv(io.BytesIO(clusters))["cluster"].tolist() == [3, 4]
    _, neurons = take("Parquet", 1)
    assert set(pd.read_parquet(io.BytesIO(neurons))["cluster"]) == {3, 4}
    _, importance = take("CSV", 2)
    assert set(pd.read_csv(io.BytesIO(importance))["class"]) == {"birds"}
    name, graph = take("GraphML")
    assert name == "planted-birds-graph.graphml"
    drawn = page.locator(".nc-graph").evaluate("root => [...root.view.byId.keys()].filter(id => id >= 0)")
    assert {node for node in nx.read_graphml(io.BytesIO(graph)) if node != "output"} == {f"cluster {c}" for c in drawn}
    _, drawing = take("SVG")
    assert ElementTree.fromstring(drawing).tag.endswith("svg")


def test_figures_are_pictures_of_what_is_seen(page: Page) -> None:
    take = opened(page)
    name, points = take("Map PNG")
    assert name == "map.png"
    with Image.open(io.BytesIO(points)) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or range(99)) > 10
        stage = page.locator(".nc-projection .nc-stage").bounding_box()
        assert stage
        assert picture.width == pytest.approx(2 * stage["width"], abs=6)
    assert ElementTree.fromstring(take("Map SVG")[1]).tag.endswith("svg")
    with Image.open(io.BytesIO(take("Graph PNG")[1])) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or range(99)) > 10


def test_reports_come_with_and_without_images(page: Page) -> None:
    take = opened(page)
    name, of_class = take("This class")
    assert name == "planted-birds.html"
    assert b"data:image/webp" in of_class
    page.get_by_text("With image patches").click()
    at_rest(page)
    name, of_run = take("Whole run")
    assert name == "planted-run.html"
    assert of_run.startswith(b"<!doctype html>")
    assert b"data:image" not in of_run


def test_what_there_is_not_is_not_offered(visit: Open, server: str) -> None:
    page = visit(f"{server}/about?v=1&run=planted")
    at_rest(page)
    take = opened(page)
    body = page.locator(".st-key-nc_export_body")
    expect(body.get_by_role("button", name="This class")).to_be_disabled()
    expect(body.get_by_role("button", name="CSV").nth(1)).to_be_disabled()  # no neuron is selected
    expect(body.get_by_role("button", name="Map PNG")).to_have_count(0)
    assert take("Whole run")[0] == "planted-run.html"


def test_the_citation_is_copied_with_a_link_to_exactly_this(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page)
    page.get_by_role("button", name="Copy citation and link").click()
    expect(page.locator(".nc-export [role=status]")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.match(r"NeuroCartography .*, run synthetic0: synthetic .* on 30 images, 2026-01-01\. http", copied)
    address = copied.split()[-1]
    assert address.endswith("class=birds")
    assert parameters(page)["class"] == ["birds"]


def test_a_class_named_in_markup_can_be_taken_away(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=1&run=markup&class={quote(MARKUP)}")
    settled(page)
    name, text = opened(page)("This class")
    assert re.fullmatch(r"markup-[\w.-]+\.html", name)
    assert MARKUP.encode() not in text
    assert b"&lt;img src=" in text
    assert page.evaluate("window.broken") is None
