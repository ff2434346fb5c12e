import math
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurocarto.quality.questions import SHOWN
from neurocarto.quality.study import ANSWERS, PLACES, answered, append, as_csv, participant, read, study, wilson

CLUSTER = np.repeat(np.arange(20, dtype=np.int32), 6)
LAYER = np.repeat(np.array(["early", "late"]), 60)
ALIVE = np.ones(120, bool)


def questions(count: int = 10, seed: int = 3) -> pd.DataFrame:
    return study(CLUSTER, LAYER, ALIVE, count, seed)


def answers(who: str, count: int = 10) -> pd.DataFrame:
    table = questions(count)
    return answered("planted", table, table["intruder"].tolist(), [1.23] * count, who)


def test_a_study_is_its_seed_and_its_number_of_questions() -> None:
    pd.testing.assert_frame_equal(questions(), questions())
    assert not questions().equals(questions(seed=4))
    assert len(questions(25)) == 25


def test_a_fifth_are_controls_from_random_groups_anywhere_among_the_others() -> None:
    tables = [questions(seed=seed) for seed in range(200)]
    assert all(table["control"].sum() == 2 for table in tables)
    assert {place for table in tables for place in np.flatnonzero(table["control"])} == set(range(10))
    everything = pd.concat(tables)
    of_cluster = CLUSTER[everything[[*SHOWN[:3]]].to_numpy()]
    together = (of_cluster == of_cluster[:, :1]).all(axis=1)
    assert together[~everything["control"]].all()
    assert together[everything["control"]].mean() < 0.05
    assert (everything.loc[everything["control"], "cluster"] == -1).all()


def test_the_intruder_is_shown_at_any_place() -> None:
    table = study(CLUSTER, LAYER, ALIVE, 4000, 0)
    places = table[list(PLACES)].to_numpy()
    assert (np.sort(places) == np.sort(table[list(SHOWN)].to_numpy())).all()
    at = np.argmax(places == table["intruder"].to_numpy()[:, None], axis=1)
    assert np.bincount(at) / 4000 == pytest.approx([0.25] * 4, abs=0.03)


def test_without_clusters_there_are_no_questions() -> None:
    assert len(study(np.full(120, -1, np.int32), LAYER, ALIVE, 10, 0)) == 0


def test_answers_say_whether_they_are_right() -> None:
    table = questions()
    named = [*table["intruder"][:9], table["first"][9]]
    found = answered("planted", table, named, [0.96] * 10, "me")
    assert tuple(found.columns) == ANSWERS
    assert found["correct"].tolist() == [True] * 9 + [False]
    assert found["question"].tolist() == [*range(1, 11)]
    assert (found["seconds"] == 1.0).all()


def test_a_file_gives_back_what_was_added(tmp_path: Path) -> None:
    path = tmp_path / "studies" / "3-10.csv"
    assert len(read(path)) == 0
    strange = answers('"a, b"\n=1').assign(layer="NA")
    for table in (strange, answers("me")):
        append(path, table)
    pd.testing.assert_frame_equal(read(path), pd.concat([strange, answers("me")], ignore_index=True), check_dtype=False)
    assert path.read_text().startswith(as_csv(strange).partition("\n")[0])
    assert [*path.parent.iterdir()] == [path]


def test_many_can_answer_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "studies" / "3-10.csv"
    people = [threading.Thread(target=append, args=(path, answers(f"person{i}", 50))) for i in range(16)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    table = read(path)
    assert len(table) == 16 * 50
    starts = table["participant"].ne(table["participant"].shift()).sum()
    assert starts == 16  # nobody's answers lie among another's


def test_a_file_that_holds_something_else_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "3-10.csv"
    for content in ("", "a,b\n1,2\n", "\x00\xff"):
        path.write_text(content)
        assert len(read(path)) == 0


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file in the folder's place")
    with pytest.raises(OSError, match="studies"):
        append(tmp_path / "studies" / "3-10.csv", answers("me"))


def test_wilsons_interval() -> None:
    # Newcombe (1998), table I: 81 of 263, and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(10, 10)[1] == 1
    assert all(math.isnan(end) for end in wilson(0, 0))


def test_every_participant_has_a_code_of_their_own() -> None:
    assert len({participant() for _ in range(100)}) == 100
