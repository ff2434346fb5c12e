"""A link opens exactly what it was copied from: anywhere, on a server that has seen no other request."""

import os
import re
import signal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.conftest import Open
from browser.driving import (
    GALLERY,
    GRAPH,
    PROJECTION,
    at_rest,
    node_place,
    nodes,
    parameters,
    settled,
    wait_for_parameter,
)
from browser.serving import ROOT, serve

pytestmark = pytest.mark.browser
SELECTED = "v=1&run=planted&class=birds&layer=block1&clusters=12.13"


def copied_link(page: Page) -> str:
    """Return what "Copy link" copies, once it has caught up with the address bar."""
    for _ in range(200):
        link = page.get_by_role("link", name="Copy link").get_attribute("href") or ""
        wanted = parameters(page)
        if not wanted or parse_qs(urlsplit(link).query, keep_blank_values=True) == wanted:
            return link
        page.wait_for_timeout(50)
    raise AssertionError(f"the link to copy stays {link}, the address is {page.url}")


def test_the_copied_link_of_explore_opens_the_same_on_a_cold_server(visit: Open, server: str, runs: Path) -> None:
    page = visit(f"{server}/?{SELECTED}")
    settled(page)
    page.mouse.click(*node_place(page, nodes(page)[0]))
    wait_for_parameter(page, "clusters", r"\d+$")
    settled(page)
    query = copied_link(page).partition("?")[2]
    with serve(runs) as started:
        cold = started.address
        again = visit(f"{cold}/?{query}")
        settled(again)
        for view, attribute in ((PROJECTION, "highlighted"), (GRAPH, "highlighted"), (GALLERY, "cards")):
            value = page.locator(view).get_attribute(f"data-{attribute}")
            assert value is not None
            expect(again.locator(view)).to_have_attribute(f"data-{attribute}", value)
        expect(again.get_by_text("block1 (40 neurons)")).to_be_visible()


@pytest.mark.parametrize("path", ["", "explore", "about"])
def test_every_page_opens_by_its_link_as_the_first_request_and_later(visit: Open, runs: Path, path: str) -> None:
    with serve(runs) as started:
        cold = started.address
        for page in (visit(f"{cold}/{path}?{SELECTED}"), visit(f"{cold}/{path}?{SELECTED}")):
            expect(page.get_by_role("link", name="Explore")).to_be_visible(timeout=20_000)
            expect(page.get_by_role("combobox", name="Class", exact=True)).to_have_value(re.compile(r"^birds \("))
            expect(page.get_by_role("dialog")).to_have_count(0)
            assert copied_link(page).endswith(SELECTED)
            page.get_by_role("link", name="Explore").click()
            settled(page)
            expect(page.locator(PROJECTION)).to_have_attribute("data-highlighted", "8")


@pytest.mark.skipif(not (ROOT / "data/demo/manifest.json").is_file(), reason="the demo run is not there: make demo")
def test_the_app_opens_on_the_demo_and_shows_it_whole(visit: Open, server: str) -> None:
    page = visit(f"{server}/")
    settled(page)
    assert "run=demo" in copied_link(page)
    assert len(nodes(page)) > 10
    page.mouse.click(*node_place(page, nodes(page)[-1]))
    wait_for_parameter(page, "clusters", "[0-9]")
    expect(page.locator(f"{GALLERY} .nc-row img").first).to_be_visible()


def test_the_selection_comes_along_to_another_page_and_back(visit: Open, server: str) -> None:
    page = visit(f"{server}/?{SELECTED}")
    settled(page)
    page.get_by_role("link", name="About").click()
    expect(page.get_by_text("What it cannot tell")).to_be_visible()
    assert copied_link(page).endswith(f"/about?{SELECTED}")
    page.get_by_role("link", name="Explore").click()
    settled(page)
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", "13")


ANSWERS = """async () => {
    const late = new Promise((resolve) => setTimeout(resolve, 2000, ""));
    return (await Promise.race([window.neurocarto?.answers?.ask("c:12") ?? "", late])).includes("cluster 12");
}"""
"""Whether the page answers a question."""
LEADING_AWAY = {
    "a link": ("", "[...document.querySelectorAll('a')].find(a => a.textContent.trim() === 'About').click()", "about"),
    "Back": ("", "history.back()", "about"),
    "a view": ("about", "document.querySelector('.nc-search').view.send({ kind: 'select', cluster: 12 })", ""),
}


@pytest.mark.mends
@pytest.mark.parametrize("way", LEADING_AWAY)
@pytest.mark.parametrize("delay", [-17, -14, 0, 5, 50])
def test_a_question_asked_while_another_page_opens_breaks_neither(
    visit: Open, server: str, way: str, delay: int
) -> None:
    first, script, then = LEADING_AWAY[way]
    page = visit(f"{server}/{then if way == 'Back' else first}?{SELECTED}")
    if way == "Back":
        expect(page.get_by_text("What it cannot tell")).to_be_visible()
        page.get_by_role("link", name="Explore").click()
        settled(page)
    page.wait_for_function("window.neurocarto?.page")
    at_rest(page)
    page.evaluate(
        """([script, delay]) => {
            setTimeout(() => neurocarto.answers?.ask("c:9"), delay);
            setTimeout(() => eval(script), -delay);
        }""",
        [script, delay],
    )
    page.wait_for_url(lambda url: urlsplit(url).path == f"/{then}")
    page.wait_for_timeout(500)
    page.wait_for_function(ANSWERS, timeout=40_000)  # also where the page has to load anew
    if then:
        expect(page.get_by_text("What it cannot tell")).to_be_visible()
    else:
        settled(page)
    assert urlsplit(page.url).path == f"/{then}"


def test_a_page_that_takes_long_to_come_is_not_cleared_by_a_question(visit: Open, runs: Path) -> None:
    with serve(runs) as started:
        page = visit(f"{started.address}/?{SELECTED}")
        settled(page)
        os.kill(started.process, signal.SIGSTOP)
        try:
            page.evaluate(LEADING_AWAY["a link"][1])
            page.evaluate("() => { neurocarto.answers.ask('c:9'); }")
            page.wait_for_timeout(6000)
        finally:
            os.kill(started.process, signal.SIGCONT)
        expect(page.get_by_text("What it cannot tell")).to_be_visible()
        page.wait_for_function(ANSWERS)
        at_rest(page)
        expect(page.get_by_text("What it cannot tell")).to_be_visible()
        assert urlsplit(page.url).path == "/about"


def test_back_returns_to_the_selection_before(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=1&run=planted&class=birds")
    settled(page)
    first, second = nodes(page)[:2]
    page.mouse.click(*node_place(page, first))
    wait_for_parameter(page, "clusters", str(first))
    page.mouse.click(*node_place(page, second))
    wait_for_parameter(page, "clusters", str(second))
    page.go_back()
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", str(first))
    page.go_forward()
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", str(second))
    page.get_by_role("link", name="About").click()
    expect(page.get_by_text("What it cannot tell")).to_be_visible()
    page.go_back()
    settled(page)
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", str(second))


def test_what_a_link_names_and_is_not_there_is_said_plainly(visit: Open, server: str) -> None:
    page = visit(f"{server}/?v=7&run=planted&class=<b>x</b>&clusters=12.9999&neuron=minus")
    settled(page)
    for text in ("version '7'", "no class '<b>x</b>'", "no cluster 9999", "neuron 'minus' cannot be read"):
        expect(page.get_by_text(text)).to_be_visible()
    expect(page.locator(GRAPH)).to_have_attribute("data-highlighted", "12")


def test_the_link_is_copied_to_the_clipboard(browser: Browser, server: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{server}/?{SELECTED}")
    settled(page)
    link = copied_link(page)
    page.get_by_role("link", name="Copy link").click()
    expect(page.get_by_role("link", name="Link copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == link
    context.close()


@pytest.mark.mends
@pytest.mark.parametrize(
    "broken",
    [
        "setTimeout(() => { throw new Error(text) })",
        "Promise.reject(new Error(text))",
        "neurocarto.answers.destroy(); document.querySelector('[data-testid=stMain]').replaceChildren()",
    ],
    ids=["error", "rejection", "nothing drawn"],
)
def test_where_streamlit_breaks_the_page_loads_anew_and_shows_the_same_once(
    visit: Open, server: str, broken: str
) -> None:
    page = visit(f"{server}/?{SELECTED}")
    settled(page)

    def break_it() -> None:
        page.wait_for_function("window.neurocarto?.answers")
        throw = f"text => {{ window.before = true; {broken}; }}"
        page.evaluate(throw, "Bad delta path index 3 (should be between [0, 1])")

    break_it()
    page.wait_for_function("!window.before")
    settled(page)
    expect(page.locator(PROJECTION)).to_have_attribute("data-highlighted", "8")
    break_it()
    page.wait_for_timeout(500)
    assert page.evaluate("window.before")  # not again and again
