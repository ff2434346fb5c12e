from neurocarto.dashboard import linked
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import Selection
from neurocarto.views.highlight import highlight


def test_a_graph_is_named_by_all_that_it_shows(opened: OpenRun) -> None:
    versions = {
        linked.graph_version(opened, selection)
        for selection in (
            Selection(),
            Selection(class_="a"),
            Selection(layers=("a",)),
            Selection(least=0.9),
            Selection(edges=1),
            Selection(clusters=(1,)),
        )
    }
    assert len(versions) == 5


def test_the_graphs_sliders_say_what_remains(opened: OpenRun) -> None:
    # 27 scores, evenly from .40 to .99 in some order: 0.9 and more are the last four; important are those above .7.
    controls = linked.graph_controls(opened.lookup, Selection(class_="birds", least=0.9, edges=1))
    assert controls["min"]["text"] == "Importance ≥ 0.90 (4 of 13)"
    assert (controls["min"]["min"], controls["min"]["value"]) == (0.5, 0.9)
    assert controls["edges"]["text"] == "Strongest edges of each: 1"
    assert linked.graph_controls(opened.lookup, Selection())["min"]["min"] == 0.0


def test_the_summary_names_what_is_selected(opened: OpenRun) -> None:
    def told(**chosen: object) -> str:
        selection = Selection(**chosen)
        shown = highlight(opened.lookup, clusters=selection.clusters, neuron=selection.neuron, lasso=selection.lasso)
        return linked.summary(opened.lookup, selection, shown)

    assert told() == "nothing selected"
    assert told(neuron=9) == "neuron block0/9 selected"
    assert told(clusters=(2,)).startswith("cluster 2 selected")
    assert told(clusters=(2, 3)) == "8 neurons in 2 clusters selected"
    assert told(lasso=((-99, -99), (99, -99), (99, 99), (-99, 99))) == "lasso around 117 neurons in 27 clusters"
