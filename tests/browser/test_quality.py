"""Quality: figures beside chance, and a way from each cluster to Explore. Badges show on the way."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.conftest import MARKUP, START, Open
from browser.driving import GRAPH, node_place, nodes, settled, wait_for_parameter
from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup
from neurocarto.views.measures import MEASURES, written

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def planted(runs: Path) -> Lookup:
    return Lookup(Run(runs / "planted"))


def test_figures_layers_and_judges_show_with_their_nulls(visit: Open, server: str, planted: Lookup) -> None:
    page = visit(f"{server}/quality?v=1&run=planted")
    expect(page.locator(".nc-verdict p").first).to_contain_text("Of 27 clusters, 9 (33%)")
    for measure, kind in MEASURES.items():
        card = page.locator(".nc-figure", has=page.get_by_role("heading", name=kind.title))
        for judge, row in planted.scorecard.measured(measure).items():
            value, _, _ = written(measure, row).partition(" ")
            expect(card.locator(".nc-number", has_text=judge).first).to_contain_text(value)
            if kind.null:
                expect(card).to_contain_text(kind.null)
    expect(page.locator(".nc-table tbody tr")).to_have_count(3)
    expect(page.get_by_role("columnheader", name="Odd one out named")).to_have_count(2)


def test_choosing_layers_narrows_the_page(visit: Open, server: str) -> None:
    page = visit(f"{server}/quality?v=1&run=planted&layer=block1")
    expect(page.locator(".nc-table tbody tr")).to_have_count(1)
    expect(page.locator(".nc-verdict p").first).to_contain_text("Of 9 clusters")


def test_a_click_opens_the_cluster_in_explore(visit: Open, server: str, planted: Lookup) -> None:
    page = visit(f"{server}/quality?v=1&run=planted&class=birds")
    solid = page.locator(".nc-trio section").first
    best = max((c for c in range(0, 27, 3)), key=lambda c: planted.scorecard.distinct["value"][c])
    expect(solid.locator("li").first).to_have_attribute("data-card-cluster", str(best))
    solid.locator("li .nc-link").first.click()
    wait_for_parameter(page, "clusters", f"{best}$")
    settled(page)
    card = page.locator(f'.nc-full[data-card-cluster="{best}"]')
    expect(card.locator(".nc-badge").first).to_have_text(re.compile("solid"))
    expect(card).to_contain_text("EfficientNet-Lite2 named the odd one out in")


def test_the_card_under_the_mouse_has_the_badge(visit: Open, server: str, planted: Lookup) -> None:
    page = visit(server + START)
    settled(page)
    node = nodes(page)[0]
    page.mouse.move(*node_place(page, node))
    expect(page.locator(f"{GRAPH} .nc-tip .nc-badge")).to_contain_text(planted.scorecard.badges[node])
    page.keyboard.press("/")
    page.keyboard.type("20")
    expect(page.get_by_role("option", name="cluster 20 in block2").first).to_contain_text("not above chance")


def test_an_unscored_run_says_what_to_do(visit: Open, server: str, runs: Path) -> None:
    page = visit(f"{server}/quality?v=1&run=unscored")
    expect(page.get_by_text(f"python -m neurocarto score {runs / 'unscored'}")).to_be_visible()
    expect(page.get_by_text("Nobody has scored this run yet")).to_be_visible()
    expect(page.get_by_text("made before runs measured themselves")).to_be_visible()
    expect(page.locator(".nc-badge")).to_have_count(0)


def test_a_judge_named_in_markup_shows_as_text(visit: Open, server: str) -> None:
    page = visit(f"{server}/quality?v=1&run=markup")
    expect(page.locator(".nc-verdict p").first).to_contain_text(f"judge {MARKUP}")
    assert page.locator('img[src="x"]').count() == 0
    assert page.evaluate("window.broken") is None
