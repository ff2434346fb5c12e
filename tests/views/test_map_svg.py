import itertools
import re
from math import hypot

import numpy as np
import pytest

from neurocarto.views.lookup import Lookup
from neurocarto.views.map_svg import WIDTH, map_svg

CIRCLE = re.compile(r'<circle cx="(\d+)" cy="(\d+)"')


def test_numbers_stand_apart_and_inside_even_where_their_clusters_lie_together(lookup: Lookup) -> None:
    numbers = [5] * 20
    places = [tuple(map(int, found)) for found in CIRCLE.findall(map_svg(lookup, numbers=numbers))]
    assert len(places) == 20
    assert all(hypot(a[0] - b[0], a[1] - b[1]) > 20 for a, b in itertools.combinations(places, 2))
    assert all(10 <= x <= WIDTH - 10 and y >= 10 for x, y in places)


def test_of_names_in_one_place_the_first_is_written(lookup: Lookup) -> None:
    drawn = map_svg(lookup, names={"first & <b>": [5], "second": [5]})
    assert "first &amp; &lt;b&gt;</text>" in drawn
    assert "second</text>" not in drawn


def test_only_named_clusters_keep_their_colour(lookup: Lookup) -> None:
    faded = re.findall(r'<path class="nc-rest" d="[^"]+"><title>([^<]*)', map_svg(lookup, {5}))
    shown = re.findall(r'<path d="[^"]+"><title>([^<]*)', map_svg(lookup, {5}))
    assert [title for title in shown if "cluster 5 in" in title] == shown
    assert len(shown) == 1
    assert len(faded) > 20


def test_a_run_without_places_has_no_map(lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lookup.__dict__, "silent", np.ones(len(lookup.neuron_cluster), bool))
    assert map_svg(lookup) == ""
