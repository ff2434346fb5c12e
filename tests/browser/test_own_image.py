"""An image of one's own on Explore, with the demo's network in a process beside the app."""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from browser.conftest import Open
from browser.driving import (
    GRAPH,
    PROJECTION,
    at_rest,
    axis_ranges,
    node_place,
    nodes,
    parameters,
    settled,
    wait_for_parameter,
)
from browser.serving import ROOT, serve
from neurocarto.runs.store import Run

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
NAME = "a secret holiday.webp"
PIPE = 65_536
"""Bytes that a pipe holds on Linux until somebody reads them."""
OWN = ".nc-own"
LOOK = 300_000
"""Milliseconds: torch takes seconds to load, more beside other processes."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the app and what it starts would keep temporary files, and its log."""
    place = tmp_path_factory.mktemp("own")
    (place / "temporary").mkdir()
    return place


@pytest.fixture(scope="module")
def address(browser: Browser, place: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(place / "temporary"))
        with serve(place, log=place / "log") as started:
            yield started.address


@pytest.fixture
def explore(visit: Open, address: str) -> Page:
    page = visit(address)
    settled(page)
    return page


def drop(page: Page, content: bytes, name: str = NAME) -> None:
    page.get_by_role("button", name="Your image").click()
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/webp", "buffer": content})


def picture() -> bytes:
    run = Run(ROOT / "data" / "demo")
    content = run.preview(int(run.examples["image"].iloc[0]))
    assert content is not None
    large = io.BytesIO()
    Image.open(io.BytesIO(content)).resize((640, 640)).save(large, "webp", lossless=True)
    assert large.tell() > PIPE, "photographs are larger than what a pipe holds"
    return large.getvalue()


def everything() -> dict[str, int]:
    """All files of the project with the times of their last change."""
    places = (Path(folder) / name for folder, _, names in os.walk(ROOT) for name in names)
    kept = (path for path in places if not {".git", "__pycache__", ".pytest_cache"} & {*path.parts})
    return {str(path): path.stat().st_mtime_ns for path in kept}


def test_an_image_shows_what_it_excites_and_leaves_nothing(explore: Page, place: Path) -> None:
    before = everything()
    explore.locator(f"{PROJECTION} .nc-stage").focus()
    explore.keyboard.press("+")
    zoomed = axis_ranges(explore)
    drop(explore, picture())
    expect(explore.get_by_role("status").filter(has_text="Looking at your image")).to_be_visible()
    # Meanwhile everything else can be used.
    settled(explore)
    cluster = nodes(explore)[-1]  # the graph opens at its top
    explore.mouse.click(*node_place(explore, cluster))
    wait_for_parameter(explore, "clusters", str(cluster))
    expect(explore.locator(f"{OWN} .nc-card").first).to_be_visible(timeout=LOOK)
    at_rest(explore)

    assert axis_ranges(explore) == pytest.approx(zoomed)
    expect(explore.locator(f"{OWN} .nc-says li")).to_have_count(5)
    expect(explore.locator(f"{OWN} .nc-card .nc-mine img").first).to_be_visible()
    expect(explore.locator(PROJECTION)).to_have_attribute("data-firing", re.compile("^[1-9]"))
    expect(explore.locator(GRAPH)).to_have_attribute("data-firing", re.compile(".*"))

    card = explore.locator(f"{OWN} .nc-cards .nc-card").first
    number = card.get_attribute("data-card-cluster") or ""
    card.hover()
    expect(explore.locator(OWN)).to_have_attribute("data-boxed", number)
    expect(explore.locator(f'{OWN} [data-boxed="{number}"]').first).to_be_visible()
    card.locator(".nc-title").click()
    wait_for_parameter(explore, "clusters", number)
    expect(explore.locator(f"{OWN} .nc-selected")).to_have_attribute("data-card-cluster", number)

    explore.get_by_role("button", name="Remove image").click()
    expect(explore.locator(OWN)).to_have_count(0)
    expect(explore.locator(PROJECTION)).to_have_attribute("data-firing", "0")
    expect(explore.locator(GRAPH)).to_have_attribute("data-firing", "")
    assert parameters(explore)["clusters"] == [number]
    assert "holiday" not in explore.url
    assert not [path for path in (place / "temporary").rglob("*") if path.is_file()]  # torch makes an empty folder
    assert everything() == before
    assert "holiday" not in (place / "log").read_text()


def test_another_visitor_sees_nothing_of_it(explore: Page, visit: Open, address: str) -> None:
    drop(explore, picture())
    expect(explore.locator(f"{OWN} .nc-card").first).to_be_visible(timeout=LOOK)
    other = visit(explore.url)
    settled(other)
    expect(other.locator(OWN)).to_have_count(0)
    expect(other.locator(PROJECTION)).to_have_attribute("data-firing", "0")
    explore.reload()
    settled(explore)
    expect(explore.locator(OWN)).to_have_count(0)


def test_what_is_no_image_is_said_and_the_next_one_is_taken(explore: Page) -> None:
    drop(explore, b"RIFF no picture", "broken.webp")
    said = explore.get_by_role("status").filter(has_text="could not be looked at: not an image that Pillow can read")
    expect(said).to_be_visible(timeout=LOOK)
    explore.get_by_role("button", name="Remove image").click()
    expect(said).to_have_count(0)
    drop(explore, picture())
    looking = explore.get_by_role("status").filter(has_text="Looking at your image")
    expect(looking).to_be_visible()
    explore.get_by_role("button", name="Stop").click()
    expect(looking).to_have_count(0)
