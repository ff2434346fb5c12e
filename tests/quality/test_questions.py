import numpy as np
import pandas as pd
import pytest

from neurocarto.quality.questions import SHOWN, draw, shuffled

LAYER = np.repeat(["b", "a"], [60, 40])
CLUSTER = np.full(100, -1, np.int32)
CLUSTER[[0, 10, 20, 30, 40, 50]] = 5  # six neurons that lie apart
CLUSTER[1:4] = 2
CLUSTER[4:6] = 7  # too few for a question
CLUSTER[60:72] = 9
ALIVE = np.ones(100, bool)
ALIVE[[50, 59, 60]] = False


def questions(count: int = 20_000, seed: int = 0, **changed: np.ndarray) -> pd.DataFrame:
    return draw(changed.get("cluster", CLUSTER), changed.get("layer", LAYER), changed.get("alive", ALIVE), count, seed)


def test_three_are_of_the_cluster_and_one_of_its_layer_is_not():
    table = questions()
    assert len(table) == 20_000
    neurons = table[list(SHOWN)].to_numpy()
    assert (CLUSTER[neurons[:, :3]] == table["cluster"].to_numpy()[:, None]).all()
    assert (CLUSTER[neurons[:, 3]] != table["cluster"]).all()
    assert (LAYER[neurons] == table["layer"].to_numpy()[:, None]).all()
    assert ALIVE[neurons].all()
    assert all(len(set(row)) == 4 for row in neurons.tolist())


def test_clusters_come_by_their_size_and_members_and_others_alike():
    table = questions()
    shares = table["cluster"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({9: 11 / 19, 5: 5 / 19, 2: 3 / 19}, abs=0.02)
    of_nine = table[table["cluster"] == 9]
    for column in SHOWN[:3]:
        assert of_nine[column].value_counts(normalize=True).to_dict() == pytest.approx(
            dict.fromkeys(range(61, 72), 1 / 11), abs=0.015
        )
    assert of_nine["intruder"].value_counts(normalize=True).to_dict() == pytest.approx(
        dict.fromkeys(range(72, 100), 1 / 28), abs=0.015
    )
    pairs = of_nine.groupby(["first", "second"]).size()
    assert len(pairs) == 11 * 10
    outside_five = set(table.loc[table["cluster"] == 5, "intruder"])
    assert outside_five == set(np.flatnonzero((LAYER == "b") & (CLUSTER != 5) & ALIVE))


def test_the_seed_decides():
    pd.testing.assert_frame_equal(questions(50), questions(50))
    assert not questions(50).equals(questions(50, seed=1))


@pytest.mark.parametrize(
    "changed",
    [
        {"cluster": np.full(100, -1, np.int32)},
        {"cluster": np.repeat(np.arange(50, dtype=np.int32), 2)},  # pairs
        {"cluster": (LAYER == "a").astype(np.int32)},  # whole layers, of more than forty or with nothing outside
        {"alive": np.zeros(100, bool)},
    ],
    ids=["no cluster", "pairs", "whole layers", "nothing alive"],
)
def test_where_no_cluster_can_be_asked_about_there_is_no_question(changed: dict[str, np.ndarray]):
    table = questions(10, **changed)
    assert len(table) == 0
    assert [*table.columns] == ["layer", "cluster", *SHOWN]


def test_layers_may_be_numbers():
    table = questions(100, layer=(LAYER == "a").astype(np.int32))
    assert (table["layer"] == (LAYER[table["first"]] == "a")).all()


def test_shuffled_groups_keep_sizes_and_layers_and_nothing_else():
    groups = shuffled(CLUSTER, LAYER, ALIVE, 0)
    for name in ("a", "b"):
        here = (name == LAYER) & ALIVE
        assert sorted(groups[here]) == sorted(CLUSTER[here])
    assert (groups[~ALIVE] == -1).all()
    assert (groups[CLUSTER == 9] == 9).mean() < 0.7
    together = np.mean([(shuffled(CLUSTER, LAYER, ALIVE, seed)[61:72] == 9).mean() for seed in range(400)])
    assert together == pytest.approx(11 / 39, abs=0.02)
