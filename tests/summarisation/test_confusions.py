from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from neurocarto.settings import RunSettings
from neurocarto.summarisation.confusions import MOST_CLUSTERS, MOST_CONFUSIONS, judge_confusions

SETTINGS = RunSettings(threads=1)
CLASSES = pd.DataFrame(
    {"class": ["tabby_cat", "bird"], "kind": "label", "outputs": [[0], []], "images": [0, 0]},
)


def _images(*groups: tuple[str | None, str, int]) -> pd.DataFrame:
    """So many images of each label and prediction."""
    rows = [(label, prediction) for label, prediction, count in groups for _ in range(count)]
    return pd.DataFrame(rows, columns=["label", "prediction"]).astype(object)


def _cases(table: pd.DataFrame) -> list[tuple[object, ...]]:
    columns = ["label", "prediction", "against", "sampled", "others"]
    return [*table[columns].drop_duplicates().itertuples(index=False, name=None)]


def test_wrong_predictions_are_compared_with_right_ones_and_kinds_with_their_others():
    images = _images(
        ("tabby_cat", "Tabby cat", 12), ("tabby_cat", "lynx", 5), ("tabby_cat", "tub", 4), ("tabby_cat", "dog", 2),
        ("bird", "hen", 8), ("bird", "cock", 6), ("bird", "kite", 1), (None, "lynx", 9),
    )  # fmt: skip
    activations = np.random.default_rng(0).normal(size=(30, len(images))).astype(np.float32)
    table = judge_confusions(activations, images, CLASSES, SETTINGS)
    assert _cases(table) == [
        ("bird", "hen", "others", 8, 7),
        ("bird", "cock", "others", 6, 9),
        ("tabby_cat", "lynx", "right", 5, 12),
        ("tabby_cat", "tub", "right", 4, 12),
    ]
    for (label, prediction), rows in table.groupby(["label", "prediction"]):
        own = images["label"] == label
        mine = own & (images["prediction"] == prediction)
        others = own & (images["prediction"] == "Tabby cat") if label == "tabby_cat" else own & ~mine
        chosen = np.flatnonzero(mine | others)
        for row in rows.itertuples():
            expected = roc_auc_score(mine[chosen], activations[row.cluster][chosen])
            assert row.score == pytest.approx(expected)
            assert row.score > 0.5
        assert rows["rank"].tolist() == [*range(len(rows))]
        assert rows["score"].is_monotonic_decreasing
        assert len(rows) <= MOST_CLUSTERS


@pytest.mark.parametrize(
    ("wrong", "right", "judged"),
    [(2, 500, False), (500, 2, False), (3, 16, False), (3, 17, True), (17, 3, True), (5, 7, False), (5, 8, True)],
)
def test_too_few_images_to_tell_chance_from_more_are_not_judged(wrong: int, right: int, judged: bool):
    images = _images(("tabby_cat", "lynx", wrong), ("tabby_cat", "tabby cat", right))
    table = judge_confusions(np.eye(4, len(images), dtype=np.float32), images, CLASSES, SETTINGS)
    assert (len(table) > 0) == judged


def test_of_equal_scores_the_greater_difference_comes_first_and_one_row_always_is_kept():
    images = _images(("tabby_cat", "lynx", 5), ("tabby_cat", "tabby cat", 8))
    wrong = np.arange(13) < 5
    table = judge_confusions(np.float32([wrong, 3 * wrong, 2 * wrong, ~wrong]), images, CLASSES, SETTINGS)
    assert table["cluster"].tolist() == [1, 2, 0]
    assert table["score"].tolist() == [1, 1, 1]
    table = judge_confusions(np.float32([~wrong, 1 - wrong / 2]), images, CLASSES, SETTINGS)
    assert (table["cluster"].tolist(), table["score"].tolist()) == ([1], [0])


def test_the_cluster_that_wrong_images_share_comes_first():
    rng = np.random.default_rng(0)
    images = _images(("tabby_cat", "lynx", 6), ("tabby_cat", "tabby cat", 24), ("bird", "lynx", 30))
    activations = rng.normal(size=(200, len(images))).astype(np.float32)
    activations[7, :6] += 5
    activations[9, 30:] += 5  # on images of another label
    table = judge_confusions(activations, images, CLASSES.iloc[:1], SETTINGS)
    assert table["cluster"].iloc[0] == 7
    assert table["q_value"].iloc[0] <= 0.05
    assert (table["q_value"].iloc[1:] > 0.05).all()


def test_shuffled_predictions_give_finds_no_more_often_than_stated():
    rng = np.random.default_rng(1)
    settings = replace(SETTINGS, label_permutations=100)
    images = _images(("tabby_cat", "lynx", 6), ("tabby_cat", "tabby cat", 18))
    activations = rng.normal(size=(40, 24)).clip(0).astype(np.float32)  # with ties, as behind a ReLU
    activations[20:] += activations[0]  # clusters that go together
    finds = 0
    for _ in range(200):
        shuffled = images.assign(prediction=rng.permutation(images["prediction"]))
        finds += (judge_confusions(activations, shuffled, CLASSES, settings)["q_value"] <= 0.05).any()
    assert finds <= 20  # 200 × .05 = 10 expected; more than 20 has a probability below .002


def test_only_the_confusions_of_most_images_are_kept():
    count = MOST_CONFUSIONS + 5
    groups = [("tabby_cat", f"wrong {i}", 4 + (i >= 5)) for i in range(count)]
    images = _images(("tabby_cat", "tabby cat", 12), *groups)
    activations = np.random.default_rng(0).random((3, len(images))).astype(np.float32)
    table = judge_confusions(activations, images, CLASSES, replace(SETTINGS, label_permutations=20))
    assert {case[1] for case in _cases(table)} == {f"wrong {i}" for i in range(5, count)}


@pytest.mark.parametrize("images", [_images((None, "lynx", 20)), _images(("tabby_cat", "tabby cat", 20)), _images()])
def test_where_nothing_is_confused_the_table_is_empty(images: pd.DataFrame):
    table = judge_confusions(np.ones((2, len(images)), np.float32), images, CLASSES, SETTINGS)
    assert table.empty
    assert judge_confusions(np.ones((0, len(images)), np.float32), images, CLASSES, SETTINGS).empty
    assert {"label", "prediction", "against", "cluster", "score", "q_value", "rank"} <= {*table.columns}
