import base64

import numpy as np
import pytest

from neurocarto.views.colouring import STEPS, colouring
from neurocarto.views.lookup import Lookup


def codes(content: dict[str, object]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(str(content["codes"])), "<i2")


@pytest.mark.parametrize("colour", ["layer", "cluster", "importance", "rate"])
def test_every_code_has_a_colour_in_both_themes_and_the_neutral_one_is_last(lookup: Lookup, colour: str) -> None:
    content = colouring(lookup, colour, "birds")
    assert len(codes(content)) == len(lookup.neuron_cluster)
    assert len(content["light"]) == len(content["dark"]) == len(content["legend"]) + 1
    assert 0 <= codes(content).min() <= codes(content).max() < len(content["light"])


def test_layers_count_from_the_image(lookup: Lookup) -> None:
    np.testing.assert_array_equal(codes(colouring(lookup, "layer")), lookup.neuron_layer)


def test_members_of_a_cluster_share_a_colour_and_who_is_in_none_is_neutral(lookup: Lookup) -> None:
    content = colouring(lookup, "cluster")
    assert len(set(codes(content)[lookup.members(3)])) == 1
    assert set(codes(content)[lookup.neuron_cluster < 0]) == {len(content["legend"])}


def test_importance_is_that_of_the_class_and_neutral_where_there_is_none(lookup: Lookup) -> None:
    found = codes(colouring(lookup, "importance", "birds"))
    scores = lookup.importances("birds")
    best = next(iter(scores))
    width = 0.5 / STEPS
    assert set(found[lookup.members(best)]) == {min(STEPS - 1, int((scores[best] - 0.5) / width))}
    assert set(found[~np.isin(lookup.neuron_cluster, list(scores))]) == {STEPS}


def test_a_firing_rate_falls_into_its_step(lookup: Lookup) -> None:
    rate = lookup.run.neurons["active_fraction"].to_numpy()
    expected = np.minimum(np.floor(rate * STEPS), STEPS - 1)
    np.testing.assert_array_equal(codes(colouring(lookup, "rate")), expected)
