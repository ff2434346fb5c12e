import re

import pytest

from neurocarto.views.graph import DOWN, graph
from neurocarto.views.graph_svg import draw
from neurocarto.views.lookup import Lookup

BOX = re.compile(r'viewBox="([^"]+)"')


def test_slices_cover_every_row_once_one_below_the_other(lookup: Lookup) -> None:
    drawing = draw(graph(lookup, class_="birds", per_layer=9), lambda cluster: None)
    assert drawing.rows == 4  # three layers and the class
    for most in (1, 2, 3, 9):
        boxes = [tuple(map(float, box.split())) for box in BOX.findall(drawing.slices("the graph", most))]
        assert len(boxes) == -(-drawing.rows // most)
        assert sum(height for *_, height in boxes) == round(drawing.rows * DOWN, 1)
        assert all(height <= most * DOWN + 0.1 for *_, height in boxes)
        tops = [boxes[0][1] + sum(box[3] for box in boxes[:i]) for i in range(len(boxes))]
        assert [y for _, y, *_ in boxes] == pytest.approx(tops)


def test_a_node_without_a_picture_is_a_square_in_its_layers_colour(lookup: Lookup) -> None:
    data = graph(lookup, class_="birds")
    drawing = draw(data, lambda cluster: None)
    assert "<image" not in drawing.body
    for node in data["nodes"]:
        if node["id"] >= 0:
            assert f'fill="{node["light"]}"' in drawing.body


def test_inhibiting_edges_are_dashed_and_arrows_point_up(lookup: Lookup) -> None:
    data = graph(lookup)
    drawing = draw(data, lambda cluster: None)
    dashed = sum(edge["weight"] < 0 for edge in data["edges"])
    assert drawing.body.count("stroke-dasharray") == dashed > 0
    for begin, end in re.findall(r'd="M[\d.-]+ ([\d.-]+)C.*? ([\d.-]+)"/><polygon', drawing.body):
        assert float(end) < float(begin)
