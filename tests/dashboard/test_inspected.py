import pytest

from neurocarto.dashboard import inspected
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import Selection
from neurocarto.views.highlight import highlight


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (Selection(class_="birds"), "The most important clusters for birds"),
        (Selection(), "The most important clusters over all images"),
        (Selection(clusters=(1, 2, 3, 4)), "Also selected"),
        (Selection(clusters=(1,)), "Built from"),
        (Selection(neuron=9), "Neuron block0/9"),
        (Selection(neuron=9, clusters=(5,)), "Also selected"),
        (Selection(neuron=9), "Most related neurons"),
        (Selection(lasso=((-99, -99), (99, -99), (99, 99), (-99, 99))), "117 neurons in the lasso, 27 clusters"),
        (Selection(lasso=((900, 900), (901, 900), (900, 901))), "No neuron lies in the lasso"),
        (Selection(class_="gone"), "No cluster is important for gone (false discovery rate 5%)"),
    ],
)
def test_the_inspector_follows_the_selection(opened: OpenRun, selection: Selection, text: str) -> None:
    shown = highlight(
        opened.lookup,
        class_=selection.class_,
        clusters=selection.clusters,
        neuron=selection.neuron,
        lasso=selection.lasso,
    )
    assert text in inspected.html(opened, selection, shown)
