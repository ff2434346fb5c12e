import base64
import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest

from neurocarto.views.cards import Cards
from neurocarto.views.comparison import GROUPS, Kin, Kinship, compared, matrix, similar_together, similarity
from neurocarto.views.comparison_graph import OUTPUTS, comparison_graph
from neurocarto.views.comparison_lists import ComparisonLists
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches


@dataclass
class Scores:
    """What comparing reads of a run: the important clusters of three classes."""

    scores: dict[str, dict[int, float]] = field(
        default_factory=lambda: {
            "cat": {1: 0.9, 2: 0.8, 5000: 0.7},
            "dog": {2: 0.95, 5000: 0.6, 4: 0.99},
            "sky": {},
        }
    )
    layers: tuple[str, ...] = ("low", "high")
    cluster_layer: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0, 4: 1, 5000: 1})

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.scores)

    def important(self, class_: str) -> pd.DataFrame:
        found = self.scores[class_]
        table = pd.DataFrame({"cluster": found.keys(), "score": found.values(), "q_value": 0.01})
        return table.astype({"cluster": np.int32, "score": np.float32, "q_value": np.float32})

    @property
    def all_important(self) -> pd.DataFrame:
        rows = [(name, *row) for name, found in self.scores.items() for row in found.items()]
        return pd.DataFrame(rows, columns=["class", "cluster", "score"]).astype({"class": "category"})


def clusters(scores: Scores, *args: object) -> dict[str, list[int]]:
    return {name: table["cluster"].tolist() for name, table in compared(scores, "cat", "dog", *args).items()}


def test_clusters_fall_into_three_groups_best_first() -> None:
    assert clusters(Scores()) == {"first": [1], "both": [2, 5000], "second": [4]}
    both = compared(Scores(), "cat", "dog")["both"]
    # What both rely on is ranked by the lower of the two.
    np.testing.assert_allclose(both[["first", "second", "score"]], [[0.8, 0.95, 0.8], [0.7, 0.6, 0.6]], rtol=1e-6)
    assert compared(Scores(), "cat", "dog")["first"]["second"].isna().all()
    assert {name: len(table) for name, table in compared(Scores(), "cat", "sky").items()} == {
        "first": 3, "both": 0, "second": 0,
    }  # fmt: skip


def test_filters_leave_clusters_out_and_never_move_them_to_another_group() -> None:
    # Cluster 2 has .80 and .95: it passes for one class, and is still shared.
    assert clusters(Scores(), (), 0.9) == {"first": [1], "both": [2], "second": [4]}
    assert clusters(Scores(), ("high",)) == {"first": [], "both": [5000], "second": [4]}


def test_similarity_is_the_cosine_of_strengths() -> None:
    cosine, shared = similarity(Scores())
    cat, dog = np.array([0.8, 0.6, 0.4, 0.0]), np.array([0.0, 0.9, 0.2, 0.98])
    expected = cat @ dog / np.linalg.norm(cat) / np.linalg.norm(dog)
    np.testing.assert_allclose(cosine, [[1, expected, 0], [expected, 1, 0], [0, 0, 0]], rtol=1e-5)
    assert shared.tolist() == [[3, 2, 0], [2, 3, 0], [0, 0, 0]]
    nothing = Scores({"cat": {}, "dog": {}})
    assert similarity(nothing)[0].tolist() == [[0, 0], [0, 0]]
    assert Kinship.of(Scores({})).names == ()


def test_similar_classes_lie_together() -> None:
    cosine = np.array([[1, 0.1, 0.8, 0], [0.1, 1, 0.2, 0.7], [0.8, 0.2, 1, 0.3], [0, 0.7, 0.3, 1]], np.float32)
    assert similar_together(cosine) == [2, 0, 1, 3]
    assert similar_together(np.zeros((3, 3), np.float32)) == [0, 1, 2]


def test_the_most_similar_classes_come_first_and_never_the_class_itself() -> None:
    kin = Kinship.of(Scores())
    assert kin.names == ("cat", "dog", "sky")
    assert kin.nearest("cat") == [Kin("dog", pytest.approx(0.428, abs=0.001), 2), Kin("sky", 0.0, 0)]


def test_the_matrix_holds_hundredths_in_its_order_and_the_classes_numbers() -> None:
    scores = Scores({"sky": {}, "dog": {2: 0.95}, "cat": {2: 0.9, 1: 0.7}})
    content = json.loads(json.dumps(matrix(scores, Kinship.of(scores))))
    assert content["names"] == ["dog", "cat", "sky"]
    assert content["codes"] == [1, 2, 0]
    assert content["counts"] == [1, 2, 0]
    # dog . cat = .9 × .8 / (.9 × √(.8² + .4²))
    assert list(base64.b64decode(content["values"])) == [100, 89, 0, 89, 100, 0, 0, 0, 0]


def test_the_graph_has_three_columns_and_every_cluster_in_its_own(lookup: Lookup) -> None:
    content = json.loads(json.dumps(comparison_graph(lookup, "birds", '<b>tools & "signs"</b>', per_layer=9)))
    groups = compared(lookup, "birds", '<b>tools & "signs"</b>')
    assert [zone["name"].split("(")[1] for zone in content["zones"]] == [f"{len(groups[name])})" for name in GROUPS]
    for zone, name in zip(content["zones"], GROUPS, strict=True):
        inside = {n["id"] for n in content["nodes"] if zone["left"] < n["x"] < zone["right"] and n["id"] >= 0}
        assert inside == set(groups[name]["cluster"])
    ends = [(zone["left"], zone["right"]) for zone in content["zones"]]
    assert ends[0][1] < ends[1][0] < ends[1][1] < ends[2][0]
    outputs = {node["id"]: node for node in content["nodes"] if node["id"] < 0}
    assert {number: node["name"] for number, node in outputs.items()} == {-1: "birds", -2: '<b>tools & "signs"</b>'}
    assert outputs[OUTPUTS["first"]]["x"] < 0 < outputs[OUTPUTS["second"]]["x"]


def test_an_edge_is_the_stronger_of_two_classes(lookup: Lookup) -> None:
    content = comparison_graph(lookup, "birds", "fish", per_layer=9, per_node=2)
    own, other = (lookup.edges(name).set_index(["source", "target"])["weight"] for name in ("birds", "fish"))
    inner = [edge for edge in content["edges"] if edge["to"] >= 0]
    assert len(inner) > 10
    for edge in inner:
        both = own[edge["from"], edge["to"]], other[edge["from"], edge["to"]]
        assert edge["weight"] == max(both, key=abs)
    # Nothing is known of the output of fish.
    assert {node["id"] for node in content["nodes"] if node["id"] < 0} == {-1}


def test_a_node_says_what_either_class_makes_of_it(lookup: Lookup) -> None:
    content = comparison_graph(lookup, "birds", "fish")
    own = {row["id"]: row["notes"] for row in content["nodes"] if row["id"] >= 0}
    only = compared(lookup, "birds", "fish")["first"]["cluster"][0]
    assert own[only] == [f"birds: importance {lookup.importances('birds')[only]:.2f}", "fish: not important"]


def test_lists_escape_names_and_mark_what_is_selected(odd: Lookup) -> None:
    first, second = odd.classes
    draw = ComparisonLists(odd, Patches(odd.run))
    groups = compared(odd, first, second)
    chosen = int(groups["both"]["cluster"][0])
    html = draw.groups(first, second, groups, (chosen,)) + draw.selected(first, second, (chosen,))
    html += draw.nearest(first, [Kin(second, 0.5, 3)], 1, second) + draw.offer("t", "a", second, [Kin(first, 0.5, 3)])
    assert "<script>" not in html
    assert f'<li class="nc-selected" data-card-cluster="{chosen}">' in html
    assert 'aria-pressed="true"' in html


def test_the_card_of_two_classes_counts_the_groups(lookup: Lookup, patches: Patches) -> None:
    groups = compared(lookup, "birds", "fish")
    card = Cards(lookup, patches).answer("p:0:1")
    assert f"{len(groups['both'])} clusters shared" in card
    assert f"{len(groups['first'])} only of birds" in card
    assert card.count("<img") == 5
    assert Cards(lookup, patches).answer("p:0:99") is None


def test_an_image_shows_without_a_neuron(lookup: Lookup, patches: Patches) -> None:
    card = Cards(lookup, patches).answer("w:3")
    assert "<img" in card
    assert "nc-box" not in card
    assert Cards(lookup, patches).answer("w:999") is None
