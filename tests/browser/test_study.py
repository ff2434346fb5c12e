"""A study taken by clicking and by keys: everyone with the link gets the same questions, and the CSV is right."""

import re
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from browser.conftest import Open
from neurocarto.quality.questions import SHOWN
from neurocarto.quality.study import ANSWERS, read
from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from neurocarto.views.study import Questions

pytestmark = pytest.mark.browser
STUDY = "/study?v=1&run=planted&study=21"


def started(visit: Open, address: str) -> Page:
    page = visit(address)
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".nc-study")).to_have_attribute("data-question", "0")
    return page


def pictures(page: Page) -> list[str]:
    found: list[str] = page.locator(".nc-option img").evaluate_all("all => all.map(one => one.src)")
    return found


def drawn(runs: Path) -> Questions:
    lookup = Lookup(Run(runs / "planted"))
    return Questions(lookup, Patches(lookup.run), 21, 10)


def test_ten_questions_are_answered_and_the_csv_says_how(visit: Open, server: str, runs: Path, tmp_path: Path) -> None:
    page, other = started(visit, server + STUDY), started(visit, server + STUDY)
    questions = drawn(runs)
    places = [number % 4 for number in range(10)]
    for number, place in enumerate(places):
        expect(page.locator(".nc-study")).to_have_attribute("data-question", str(number))
        expect(page.locator(".nc-option")).to_have_count(4)
        assert len(pictures(page)) == 4 * questions.shown
        expect(page.locator(".nc-results")).to_have_count(0)
        if number < 3:
            assert pictures(page) == pictures(other)
        for one in (page, other) if number < 2 else (page,):
            one.locator(".nc-option").nth(place).click()
        expect(other.locator(".nc-study")).to_have_attribute("data-question", str(min(number + 1, 2)))
    right = sum(questions.neuron(i, place) == questions.table["intruder"][i] for i, place in enumerate(places)
                if not questions.table["control"][i])  # fmt: skip
    expect(page.locator(".nc-results tr").first).to_contain_text(f"You {right} of 8")
    expect(page.locator(".nc-results")).to_contain_text("EfficientNet-Lite2 over the whole run")
    expect(page.locator(".nc-steps .nc-card")).to_have_count(10)

    with page.expect_download() as download:
        page.get_by_role("button", name="Download your answers").click()
    download.value.save_as(tmp_path / "mine.csv")
    table = read(tmp_path / "mine.csv")
    assert tuple(table.columns) == ANSWERS
    asked = questions.table[["layer", "cluster", *SHOWN, "control"]]
    pd.testing.assert_frame_equal(table[[*asked.columns]], asked, check_dtype=False)
    assert table["answer"].tolist() == [questions.neuron(i, place) for i, place in enumerate(places)]
    assert table["correct"].tolist() == (table["answer"] == table["intruder"]).tolist()
    assert (table["seconds"] >= 0).all()
    assert table["seconds"].sum() > 0
    assert set(table["run"]) == {"planted"}
    kept = read(runs / "planted" / "studies" / "21-10.csv")
    pd.testing.assert_frame_equal(kept, table)


def test_a_study_can_be_taken_with_keys_alone_and_leads_to_explore(visit: Open, server: str) -> None:
    page = started(visit, f"{server}{STUDY}&questions=2")
    for number in range(2):
        expect(page.locator(".nc-study")).to_have_attribute("data-question", str(number))
        page.keyboard.press("9")  # no answer
        page.keyboard.press(str(number + 1))
    expect(page.locator(".nc-results tr").first).to_contain_text("of 2")
    expect(page.get_by_text("They are kept beside the run")).to_be_visible()
    expect(page.locator('[data-test-script-state="notRunning"]')).to_be_attached()  # the answers have been kept
    page.locator(".nc-steps .nc-meta .nc-link").first.click()
    page.wait_for_url(re.compile(r"/(explore)?\?.*clusters=\d+"))


def test_reloading_starts_over(visit: Open, server: str) -> None:
    page = started(visit, server + STUDY)
    page.locator(".nc-option").first.click()
    expect(page.locator(".nc-study")).to_have_attribute("data-question", "1")
    page.reload()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".nc-study")).to_have_attribute("data-question", "0")


def test_the_number_of_questions_and_the_study_are_in_the_link(visit: Open, server: str) -> None:
    page = visit(f"{server}/study?v=1&run=planted")
    page.get_by_role("spinbutton", name="Study number").fill("5")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("study=5"))
    expect(page.get_by_role("link", name="Copy link")).to_have_attribute("href", re.compile("study=5"))
