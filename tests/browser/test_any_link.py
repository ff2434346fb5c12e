"""Links of all kinds: random selections, opened on a server that has seen no other request, and mutilated ones."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from browser.conftest import Open
from browser.driving import GRAPH, PROJECTION, settled
from browser.serving import serve
from neurocarto.dashboard.selection import _KEYS, COLOURS, SHOWN, Selection, query_string
from neurocarto.runs.store import Run
from neurocarto.views.graph import graph
from neurocarto.views.highlight import highlight
from neurocarto.views.lookup import Lookup

pytestmark = pytest.mark.browser


def random_selection(rng: random.Random, lookup: Lookup) -> Selection:
    what = rng.choice(["clusters", "neuron", "lasso", "nothing"])
    corner = [(rng.uniform(-9, 0), rng.uniform(-9, 0)), (rng.uniform(0, 9), rng.uniform(-9, 0)), (2.0, 9.0)]
    return Selection(
        run="planted",
        class_=rng.choice(["", *lookup.classes]),
        layers=tuple(name for name in lookup.layers if rng.random() < 0.3),
        clusters=tuple(rng.sample(sorted(lookup.cluster_layer), rng.randint(1, 5))) if what == "clusters" else (),
        neuron=rng.randrange(len(lookup.neuron_cluster)) if what == "neuron" else None,
        lasso=tuple((float(f"{x:.5g}"), float(f"{y:.5g}")) for x, y in corner) if what == "lasso" else (),
        least=rng.choice([0.0, 0.75, 0.9]),
        colour=rng.choice([*COLOURS]),
        show=rng.choice([*SHOWN]),
        edges=rng.randint(1, 5),
        snapshot=rng.choice([None, None, 1]),
        pictures=rng.random() < 0.5,
    )


def test_twenty_random_selections_open_on_a_cold_server(visit: Open, runs: Path) -> None:
    lookup, rng = Lookup(Run(runs / "planted")), random.Random(7)
    with serve(runs) as started:
        cold = started.address
        for _ in range(20):
            chosen = random_selection(rng, lookup)
            page = visit(f"{cold}/?{query_string(chosen)}")
            settled(page)
            shown = highlight(
                lookup, class_=chosen.class_, layers=chosen.layers, clusters=chosen.clusters,
                neuron=chosen.neuron, lasso=chosen.lasso, show=chosen.show,
            )  # fmt: skip
            content = graph(
                lookup, class_=chosen.class_, layers=chosen.layers, least=chosen.least, per_node=chosen.edges
            )
            in_graph = {node["id"] for node in content["nodes"]}
            clusters = " ".join(str(c) for c in shown.clusters if c in in_graph)
            expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", clusters)
            expect(page.locator(PROJECTION)).to_have_attribute("data-colours", re.compile(f" {chosen.colour} "))
            selected = page.locator(PROJECTION).evaluate("root => root.view.groups.selected")
            assert selected == shown.selected.nonzero()[0].tolist()
            assert page.locator(PROJECTION).get_attribute("data-map") == str(4 if chosen.snapshot is None else 1)
            page.context.close()


texts = (
    st.text(max_size=30) | st.from_regex(r"[-0-9.,_eE]{1,20}", fullmatch=True) | st.sampled_from(["planted", "birds"])
)
links = st.dictionaries(
    st.sampled_from(["v", *_KEYS]) | st.text("abcv", max_size=3), st.lists(texts, max_size=3), max_size=6
)


def test_a_hundred_mutilated_links_show_no_exception(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=1&run=planted")
    settled(page)

    @settings(max_examples=100, deadline=None, phases=[Phase.generate], derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(links)
    def open_link(params: dict[str, list[str]]) -> None:
        follow(page, params)
        expect(page.locator('[data-testid="stException"]')).to_have_count(0)
        expect(page.locator(PROJECTION)).to_have_count(1)
        assert page.evaluate("window.broken") is None

    open_link()


def follow(page: Page, params: dict[str, list[str]]) -> None:
    """Follow a link within the page, as Back and Forward do, and wait until the page has been drawn for it."""
    page.evaluate(
        """params => {
            const query = new URLSearchParams();
            for (const [name, values] of Object.entries(params)) for (const value of values) query.append(name, value);
            history.pushState({}, "", `?${query}`);
            dispatchEvent(new PopStateEvent("popstate"));
        }""",
        params,
    )
    page.wait_for_timeout(60)
    expect(page.locator('[data-testid="stApp"]')).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=15_000
    )
