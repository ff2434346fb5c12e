import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import write_synthetic_run

from neurocarto.quality.questions import MEMBERS, SHOWN
from neurocarto.quality.study import answered
from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from neurocarto.views.study import Questions, results, review
from views.conftest import MARKUP
from views.test_gallery import Outline


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    folder = tmp_path_factory.mktemp("judged") / "run"
    return Lookup(Run(write_synthetic_run(folder, examples=12, images=40, judges=("EfficientNet-Lite2",), halves=True)))


def answers(questions: Questions, right: int, who: str = "me") -> pd.DataFrame:
    """All answers of a participant who is right at the first questions."""
    table = questions.table
    named = np.where(np.arange(len(table)) < right, table["intruder"], table["first"])
    return answered("run", table, named.tolist(), [2.0] * len(table), who)


def test_a_question_shows_four_rows_of_ten_and_says_nothing_of_the_answer(lookup: Lookup, patches: Patches) -> None:
    questions = Questions(lookup, patches, 7, 10)
    assert len(questions) == 10
    for number in range(10):
        html = questions.html(number)
        outline = Outline(html)
        assert len(outline.pictures) == 40
        assert [picture["alt"] for picture in outline.pictures] == [""] * 40
        assert f"Question {number + 1} of 10" in outline.text
        said = re.sub(r'src="[^"]*"', "", html)
        assert not {"data-neuron", "data-cluster", "data-of", "title"} & set(re.findall(r"[\w-]+(?==)", said))
        assert not any(lookup.neuron_name(questions.neuron(number, place)) in said for place in range(4))


def test_dead_neurons_are_never_shown(lookup: Lookup, patches: Patches) -> None:
    shown = Questions(lookup, patches, 0, 50).table[list(SHOWN)].to_numpy()
    assert not lookup.silent[shown].any()


@pytest.mark.parametrize("seed", [0, 1])
def test_clusters_of_one_half_are_asked_about_by_patches_of_the_other(judged: Lookup, seed: int) -> None:
    questions = Questions(judged, Patches(judged.run), seed, 50)
    assert questions.held_out
    real = questions.table[~questions.table["control"]]
    formed = judged.run.neurons[f"cluster_half{seed}"].to_numpy()
    assert (formed[real[[*MEMBERS]].to_numpy()] >= 0).all()
    assert (real["cluster"].to_numpy() == judged.neuron_cluster[real["first"].to_numpy()]).all()
    shown = questions.examples(int(real["first"].iloc[0]))
    assert set(shown["half"]) == {1 - seed}
    assert shown["rank"].tolist() == [*range(10)]


def test_without_the_halves_clusters_all_patches_are_used(lookup: Lookup, patches: Patches) -> None:
    questions = Questions(lookup, patches, 0, 10)
    assert not questions.held_out
    assert set(questions.examples(9)["half"]) == {0, 1}


def test_results_stand_beside_the_judge_and_guessing(judged: Lookup) -> None:
    questions = Questions(judged, Patches(judged.run), 3, 10)
    own = answers(questions, 10)
    text = Outline(results(judged, own, own)).text
    asked = sorted(set(own.loc[~own["control"], "cluster"]))
    same = judged.scorecard.intruder["value"][asked].mean()
    assert "You 8 of 8100% (68–100%)" in text
    assert "You, on random groups 2 of 2, guesses100% (34–100%)" in text
    assert f"EfficientNet-Lite2 on the same {len(asked)} clusters, the mean{same:.0%}; random groups 25%" in text
    assert "EfficientNet-Lite2 over the whole run" in text
    assert "Guessing one of four25%" in text
    assert "participants" not in text
    everyone = pd.concat([own, answers(questions, 0, "another")])
    assert "All 2 participants 8 of 1650% (28–72%)" in Outline(results(judged, own, everyone)).text


def test_the_end_names_the_intruder_and_the_answer(judged: Lookup) -> None:
    patches = Patches(judged.run)
    questions = Questions(judged, patches, 3, 10)
    html = review(judged, patches, questions, answers(questions, 4))
    assert html.count("<h4>Right</h4>") == 4
    assert html.count("<small><b>the intruder</b><br>your answer</small>") == 4
    assert html.count("<small><b>the intruder</b></small>") == 6
    assert html.count("random group in") == 2


def test_a_run_without_clusters_has_no_questions(tmp_path: Path) -> None:
    empty = Lookup(Run(write_synthetic_run(tmp_path / "run", cluster_size=2)))
    assert len(Questions(empty, Patches(empty.run), 0, 10)) == 0


def test_markup_in_names_shows_as_text(tmp_path: Path) -> None:
    odd = Lookup(Run(write_synthetic_run(tmp_path / "run", classes=(MARKUP, "b"), judges=("<script>",))))
    patches = Patches(odd.run)
    questions = Questions(odd, patches, 0, 10)
    own = answers(questions, 5)
    html = "".join(questions.html(number) for number in range(10)) + results(odd, own, own)
    assert "script" not in Outline(html + review(odd, patches, questions, own)).tags
