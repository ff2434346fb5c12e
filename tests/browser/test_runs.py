"""From images to a run, in the app: upload, start, watch, reload, open, hand on to another server."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from browser.conftest import Open
from browser.driving import at_rest, settled
from browser.serving import serve
from neurocarto.runs.jobs import Jobs

LAYERS = 17


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen pictures in two folders, zipped."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("photos") / "my photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(16):
            blocks = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(blocks).resize((96, 96), Image.Resampling.NEAREST).save(file, "PNG")
            archive.writestr(f"{'cats' if index % 2 else 'dogs'}/{index}.png", file.getvalue())
    return path


@pytest.fixture
def own_server(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of its own, whose runs are made in a folder that is empty at first."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NEUROCARTO_NICENESS", "0")  # other tests run beside this one, and would never let it come up
    (tmp_path / "runs").mkdir()
    with serve(tmp_path / "runs") as started:
        yield started.address
    for job in Jobs(tmp_path / "runs").all():
        job.stop()
        job.stop()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_is_made_watched_opened_and_handed_on(
    visit: Open, own_server: str, photos: Path, tmp_path: Path, runs: Path
) -> None:
    page = visit(own_server + "/runs")
    page.locator("input[type=file]").last.set_input_files(photos)
    expect(page.get_by_text("16 images in 2 folders, taken as classes")).to_be_visible(timeout=60_000)
    expect(page.get_by_text(f"in {LAYERS} layers")).to_be_visible(timeout=120_000)
    _choose(page, "_blocks.2._bn1", "_blocks.8._bn1")  # fewer take less time
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("is being made")).to_be_visible(timeout=60_000)
    page.wait_for_url(re.compile(r"[?&]job=[a-z0-9]{12}$"), timeout=20_000)

    other = visit(page.url)  # a colleague, by link
    expect(other.get_by_text("is being made")).to_be_visible(timeout=60_000)
    page.reload()
    expect(page.get_by_text("Load the network", exact=True)).to_be_visible(timeout=60_000)
    expect(page.get_by_text("is finished.")).to_be_visible(timeout=400_000)
    expect(other.get_by_text("is finished.")).to_be_visible(timeout=60_000)
    at_rest(page)
    page.get_by_role("button", name="Open", exact=True).first.click()
    settled(page)
    expect(page.locator(".st-key-nc_explore")).to_be_visible()

    other.goto(own_server + "/runs")
    card = other.locator("[class*=st-key-nc_run_]").filter(has_text="my-photos")
    with other.expect_download(timeout=60_000) as download:
        card.get_by_role("button", name="Export").click()
    archive = tmp_path / "handed.zip"
    download.value.save_as(archive)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with serve(elsewhere) as second:
        there = visit(second.address + "/runs")
        there.get_by_role("button", name="Import a run").click()
        there.get_by_test_id("stPopoverBody").locator("input[type=file]").set_input_files(archive)
        there.get_by_role("button", name="Import", exact=True).click()
        expect(there.get_by_text("was imported and is whole")).to_be_visible(timeout=60_000)
        # The link that opened the run here opens it there too.
        there.goto(second.address + "/?" + urlsplit(page.url).query)
        settled(there)
        expect(there.get_by_text("is shown instead")).to_have_count(0)
        found = [path.name for path in elsewhere.iterdir() if not path.name.startswith(".")]
        assert found == ["my-photos-efficientnet_lite0"]


def _choose(page: Page, *layers: str) -> None:
    """Choose layers for the new run instead of all."""
    page.get_by_text("Layers and settings").click()
    field = page.get_by_test_id("stMultiSelect")
    clear, chosen = field.get_by_label("Clear all"), page.get_by_text(f"in {len(layers)} layers")
    for _ in range(4):  # what is typed while the page is drawn anew is lost, and its list of layers may move away
        at_rest(page)
        if clear.is_visible():
            clear.click()
        expect(page.get_by_text("No layer is chosen")).to_be_visible(timeout=20_000)
        for layer in layers:
            at_rest(page)
            field.get_by_role("combobox").fill(layer)
            page.wait_for_timeout(500)
            page.keyboard.press("ArrowDown")  # past "Select all matches"
            page.keyboard.press("Enter")
            page.wait_for_timeout(500)
        page.keyboard.press("Escape")
        page.wait_for_timeout(2000)
        if chosen.is_visible():
            break
    expect(chosen).to_be_visible(timeout=20_000)
