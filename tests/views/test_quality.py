import json
from pathlib import Path

import pytest
from synthetic import write_synthetic_run

from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup
from neurocarto.views.measures import MEASURES, SECTIONS, null_written, span, top_of, written
from neurocarto.views.patches import Patches
from neurocarto.views.quality import QualityCards
from views.conftest import MARKUP
from views.test_gallery import Outline

NAN = float("nan")
ROW = {"value": 0.7, "low": 0.5, "high": 0.8, "null": 0.25, "null_low": 0.2, "null_high": 0.3}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    folder = write_synthetic_run(tmp_path_factory.mktemp("judged") / "run", judges=("EfficientNet-Lite2", "another"))
    return Lookup(Run(folder))


@pytest.fixture(scope="module")
def cards(judged: Lookup) -> QualityCards:
    return QualityCards(judged, Patches(judged.run))


def test_values_are_written_with_their_interval_and_their_null() -> None:
    assert written("intruder", ROW) == "70% (50–80%)"
    assert null_written("intruder", ROW) == "random groups 25% (20–30%)"
    assert written("lift@10", {**ROW, "value": 3.456, "low": 2, "high": 4}) == "3.46× (2.00–4.00×)"
    assert null_written("lift@10", {**ROW, "null": 1.0, "null_low": NAN}) == "random pairs 1.00×"
    assert written("stability_halves", {**ROW, "low": -0.021}) == "0.70 (−0.02–0.80)"
    assert written("stability_halves", {**ROW, "value": -0.001, "low": NAN}) == "0.00"
    assert null_written("intruder", {**ROW, "null": NAN}) == ""
    assert null_written("coverage", ROW) == ""


def test_a_value_is_drawn_on_its_scale_and_said_in_words() -> None:
    drawn = span("intruder", {**ROW, "high": 1.4})
    assert "--at:70.0%;--low:50.0%;--high:100.0%;--from:20.0%;--to:30.0%" in drawn
    assert 'aria-label="70% (50–140%); random groups 25% (20–30%)"' in drawn
    bare = span("size", {**ROW, "value": 6, "low": NAN, "high": NAN, "null_low": NAN}, top=12)
    assert "--at:50.0%" in bare
    assert "nc-interval" not in bare
    assert "nc-null" not in bare


def test_a_scale_without_an_end_ends_behind_its_largest_value(judged: Lookup) -> None:
    rows = [*judged.scorecard.measured("lift@10").values()]
    assert top_of("lift@10", rows) == pytest.approx(1.05 * rows[0]["high"])
    assert top_of("intruder", rows) == 1
    assert top_of("size", []) > 0


def test_the_verdict_counts_badges_and_names_every_judge(cards: QualityCards) -> None:
    text = Outline(cards.verdict()).text
    assert text.startswith("Of 27 clusters, 9 (33%) ●solid, 9 (33%) ◐tentative, 9 (33%) ○not above chance.")
    for judge in ("EfficientNet-Lite2", "another"):
        assert f"{judge} names the odd one out in" in text
        assert f"Scored by {judge}: 1,000 draws, on the run's halves, patches cut from previews, on 2026-01-02." in text


def test_every_measure_of_the_run_is_a_figure_with_its_meaning(cards: QualityCards) -> None:
    assert {name for names in SECTIONS.values() for name in names} == set(MEASURES)
    text = Outline(cards.figures()).text
    for kind in MEASURES.values():
        assert kind.title in text
        assert kind.meaning in text


def test_layers_are_rows_and_judges_columns_side_by_side(judged: Lookup) -> None:
    patches = Patches(judged.run)
    html = QualityCards(judged, patches).by_layer()
    assert html.count("<tr>") == 4
    assert html.count("Odd one out named <small>") == 2
    assert "3 solid, 3 tentative, 3 not above chance" in html
    few = QualityCards(judged, patches, ["block1"])
    assert few.by_layer().count("<tr>") == 2
    assert "Of 9 clusters in the chosen layers" in Outline(few.verdict()).text
    assert all(f">{c} in block1<" in few.ranking() for c in range(9, 18))


def test_clusters_are_ranked_in_their_badges_and_open_in_explore(judged: Lookup, cards: QualityCards) -> None:
    groups = cards.ranking().split('<section class="nc-part">')[1:]
    tests = judged.scorecard.distinct["value"]
    for remainder, html in enumerate(groups):
        expected = sorted((c for c in range(27) if c % 3 == remainder), key=lambda c: -tests[c])
        places = [html.index(f'data-cluster="{cluster}" data-page="explore"') for cluster in expected]
        assert places == sorted(places)
        assert "1 more" in Outline(html).text


def test_without_a_judge_only_what_the_run_measured_shows(lookup: Lookup, patches: Patches) -> None:
    cards = QualityCards(lookup, patches)
    assert cards.verdict() == cards.ranking() == ""
    assert "Coverage" in cards.figures()
    assert "Odd one out" not in cards.figures() + cards.by_layer()
    assert "Badges" not in cards.by_layer()


def test_an_older_run_shows_nothing(tmp_path: Path) -> None:
    older = Lookup(Run(write_synthetic_run(tmp_path / "run", quality=False)))
    cards = QualityCards(older, Patches(older.run))
    assert cards.verdict() == cards.figures() == cards.by_layer() == cards.ranking() == ""


def test_markup_in_names_and_in_the_scorecard_shows_as_text(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", classes=(MARKUP, "b"), judges=("judge",))
    path = folder / "scores" / "judge.json"
    changed = {"judge": MARKUP, "images": MARKUP, "notes": [MARKUP], "pictures": MARKUP, "draws": MARKUP}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    odd = Lookup(Run(folder))
    cards = QualityCards(odd, Patches(odd.run))
    outline = Outline(cards.verdict() + cards.figures() + cards.by_layer() + cards.ranking())
    assert "script" not in outline.tags
    assert MARKUP in outline.text
