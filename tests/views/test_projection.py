import base64
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurocarto.views.lookup import Lookup
from neurocarto.views.palette import ramp, ramp_colours
from neurocarto.views.projection import TRACES, bits, captions, figure


def values(spec: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(spec["bdata"]), spec["dtype"])


def test_every_neuron_is_a_point_in_row_order(lookup: Lookup) -> None:
    traces = figure(lookup)["data"]
    assert [trace["name"] for trace in traces] == list(TRACES)
    np.testing.assert_array_equal(values(traces[0]["x"]), lookup.places[:, 0])
    np.testing.assert_array_equal(values(traces[0]["marker"]["color"]), lookup.neuron_layer)


def test_points_of_both_traces_answer_the_mouse_without_plotlys_own_label(lookup: Lookup) -> None:
    assert [trace["hoverinfo"] for trace in figure(lookup)["data"]] == ["none", "none"]


def test_captions_are_json_and_name_layers_and_clusters(lookup: Lookup) -> None:
    content = json.loads(json.dumps(captions(lookup)))
    assert [layer["first"] for layer in content["layers"]] == [0, 40, 80]
    clusters = np.frombuffer(base64.b64decode(content["clusters"]), "<i4")
    np.testing.assert_array_equal(clusters, lookup.neuron_cluster)
    assert content["labels"]["1"] == lookup.label(1)


@given(st.lists(st.booleans(), max_size=70))
def test_bits_hold_one_neuron_each_lowest_first(mask: list[bool]) -> None:
    packed = base64.b64decode(bits(np.array(mask, bool)))
    assert [bool(packed[i >> 3] >> (i & 7) & 1) for i in range(len(mask))] == mask


def test_every_layer_has_a_colour_of_its_own() -> None:
    assert len(set(ramp_colours(17, "dark"))) == 17


def test_the_ramp_gets_lighter_with_depth() -> None:
    def luminance(colour: str) -> float:
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    steps = [luminance(ramp(at)) for at in np.linspace(0, 1, 30)]
    assert steps == sorted(steps)
