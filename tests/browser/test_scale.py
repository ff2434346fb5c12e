"""A run of 100,000 neurons and 1,000 classes opens and filters on a free host's memory."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.large_run import LARGE, write_large_run
from benchmarks.views import SESSIONS, Visitor
from browser.driving import GRAPH, PROJECTION, parameters
from browser.serving import serve

MEMORY = 690
"""MB that the smallest free host has been seen to give."""


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_visitors_of_a_large_run_fit_into_a_free_host(browser: Browser, tmp_path: Path) -> None:
    write_large_run(tmp_path / "large", LARGE)
    with serve(tmp_path) as server:
        visitors = [Visitor(browser, server.address, "large") for _ in range(SESSIONS)]
        for turn, visitor in enumerate(visitors):
            visitor.choose_class(f"class {turn:04}")
            visitor.click_in_graph(turn)
            visitor.click_on_map(turn)
            page = visitor.page
            assert parameters(page)["class"] == [f"class {turn:04}"]
            assert parameters(page)["neuron"][0].isdigit()
            expect(page.locator(GRAPH)).to_have_attribute("data-nodes", str(LARGE.layers * 6 + 1))
            expect(page.locator(PROJECTION)).to_have_attribute("data-neuron", parameters(page)["neuron"][0])
        assert server.memory("VmHWM") < MEMORY
        legend = page.locator(f"{PROJECTION} .nc-legend")
        expect(legend).to_contain_text("12,000 of the 99,980 neurons in sight are drawn")
        for _ in range(12):
            page.get_by_role("button", name="Zoom in").first.click()
        expect(legend).not_to_contain_text("in sight")  # close up, every neuron is drawn
        assert page.locator(PROJECTION).evaluate("root => new Set(root.view.inSight()).size") == 1
        for visitor in visitors:
            visitor.context.close()
