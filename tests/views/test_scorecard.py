import json
from pathlib import Path

import pandas as pd
import pytest
from synthetic import write_scores, write_synthetic_run

from neurocarto.records import MEASURES
from neurocarto.runs.store import Run
from neurocarto.views.cards import Cards
from neurocarto.views.cascade import cascade
from neurocarto.views.cascade_cards import CascadeCards
from neurocarto.views.gallery import Gallery
from neurocarto.views.graph import graph
from neurocarto.views.inspector import cluster_button
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from neurocarto.views.pills import pill
from views.conftest import MARKUP
from views.test_gallery import Outline


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    """A run with scorecards of two judges, of which the second by name is the one that decides."""
    folder = write_synthetic_run(tmp_path_factory.mktemp("judged") / "run", judges=("another", "EfficientNet-Lite2"))
    return Lookup(Run(folder))


def test_every_third_cluster_has_the_badge_its_measures_were_made_for(judged: Lookup) -> None:
    words = ("solid", "tentative", "not above chance")
    assert judged.scorecard.badges == {cluster: words[cluster % 3] for cluster in judged.cluster_layer}
    assert judged.scorecard.counts([0, 1, 3]) == {"solid": 2, "tentative": 1, "not above chance": 0}


def test_the_default_judge_decides_and_all_are_listed(judged: Lookup) -> None:
    assert [judge.name for judge in judged.scorecard.judges] == ["EfficientNet-Lite2", "another"]
    assert [*judged.scorecard.measured("intruder", "block1")] == ["EfficientNet-Lite2", "another"]
    assert [*judged.scorecard.measured("coverage")] == [""]
    assert judged.scorecard.measured("nothing") == {}


def test_the_explanation_tells_the_numbers_and_their_null(judged: Lookup) -> None:
    test = judged.scorecard.intruder.loc[0]
    said = judged.scorecard.explanation(0)
    assert f"EfficientNet-Lite2 named the odd one out in {test['value']:.0%}" in said
    assert "Where no picture comes twice in a test: " in said
    assert "of 200 tests on images that did not form it; random groups 25% (23–27%)" in said
    assert "of the images that two of them share; random groups 16% (14–18%)." in said


def test_a_cluster_without_its_test_says_so_and_why(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run")
    write_scores(folder, "judge", pd.DataFrame(columns=MEASURES.names).astype({"cluster": "int32"}))
    lookup = Lookup(Run(folder))
    assert set(lookup.scorecard.badges.values()) == {"not tested"}
    assert "Of fewer than three neurons" in lookup.scorecard.explanation(0)


def test_a_run_that_was_never_scored_has_no_badges(lookup: Lookup, patches: Patches) -> None:
    assert lookup.scorecard.badges == {}
    shown = Gallery(lookup, patches).cluster(3) + Cards(lookup, patches).answer("c:3") + cluster_button(lookup, 3)
    assert "nc-badge" not in shown
    assert pill(lookup, 3) == ""


def test_badges_show_wherever_a_cluster_does(judged: Lookup) -> None:
    patches = Patches(judged.run)
    found = cascade(judged, 0, "", 3)
    cards = CascadeCards(judged, patches, "birds")
    for html in (
        Gallery(judged, patches).clusters([0]),
        Gallery(judged, patches).cluster(0),
        Gallery(judged, patches).neuron(0),
        Cards(judged, patches).answer("c:0"),
        Cards(judged, patches).answer("n:0"),
        cluster_button(judged, 0),
        cards.alone(0),
    ):
        assert "nc-badge-solid" in html
        assert "●solid" in Outline(html).text
    assert cards.steps(found, 1).count('class="nc-badge ') == sum(
        len(step.clusters) for step in found.steps if step.number > 0
    )
    nodes = graph(judged, class_="birds")["nodes"]
    assert all(node["badge"] == judged.scorecard.badges[node["id"]] for node in nodes if node["id"] >= 0)


def test_a_judge_named_in_markup_shows_as_text(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", judges=("judge",))
    path = folder / "scores" / "judge.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"judge": MARKUP}))
    html = pill(Lookup(Run(folder)), 0)
    assert "script" not in Outline(html).tags
    assert "&lt;script&gt;" in html


def test_a_damaged_scorecard_is_told_and_the_run_shown_without(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", judges=("judge",))
    (folder / "scores" / "judge.json").write_text("{")
    broken = Lookup(Run(folder)).scorecard
    assert "judge.json cannot be read" in broken.problem
    assert broken.badges == {}
    write_scores(folder, "judge", pd.DataFrame({"cluster": [1]}))
    assert "judge does not hold what it should" in Lookup(Run(folder)).scorecard.problem


def test_a_scorecard_without_the_test_behind_the_badges_is_to_be_made_again(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", judges=("judge",))
    table = pd.read_parquet(folder / "scores" / "judge.parquet")
    write_scores(folder, "judge", table[table["measure"] != "intruder_distinct"])
    card = Lookup(Run(folder)).scorecard
    assert "of an earlier version" in card.problem
    assert card.badges == {}


def test_two_scorecards_of_one_judge_are_told_apart(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", judges=("judge",))
    for suffix in ("json", "parquet"):
        (folder / "scores" / f"other.{suffix}").write_bytes((folder / "scores" / f"judge.{suffix}").read_bytes())
    assert [judge.name for judge in Lookup(Run(folder)).scorecard.judges] == ["judge", "judge (other)"]


def test_what_is_not_a_number_counts_as_not_measured(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run")
    row = dict.fromkeys(MEASURES.names, float("nan")) | {
        "layer": "block0",
        "cluster": 0,
        "measure": "intruder",
        "count": 0,
    }
    rows = [row, {**row, "cluster": -1}]
    write_scores(folder, "judge", pd.DataFrame(rows + [{**own, "measure": "intruder_distinct"} for own in rows]))
    card = Lookup(Run(folder)).scorecard
    assert card.measured("intruder", "block0") == {}
    assert "Of fewer than three neurons" in card.explanation(0)
