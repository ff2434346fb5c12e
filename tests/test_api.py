"""The Python API: what docs/api.md shows works as it stands there, and stays one line where it cannot."""

import json
import os
import re
import subprocess
import sys
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SMALL, files
from synthetic import write_synthetic_run

import neurocarto as nc
from neurocarto import api
from neurocarto.api import OpenedRun
from neurocarto.errors import ModelError, NeurocartoError, RunError, SettingsError
from neurocarto.records import CLASS_OUTPUT
from neurocarto.request import ModelRequest
from neurocarto.runs.store import check_run

if TYPE_CHECKING:
    from neurocarto.extraction.models import Model

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return nc.open(write_synthetic_run(tmp_path_factory.mktemp("planted") / "run", layers=3, channels=20, images=12))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick settings where none are given."""
    original = api._settings
    monkeypatch.setattr(api, "_settings", lambda chosen: original({**SMALL.as_dict(), **chosen}))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The links that a browser was asked to open."""
    links: list[str] = []
    monkeypatch.setattr(webbrowser, "open", links.append)
    return links


def test_importing_the_package_loads_nothing_that_takes_time() -> None:
    code = (
        "import sys, neurocarto as nc; heavy = {'torch', 'plotly', 'pandas', 'pyarrow'} & set(sys.modules);"
        "nc.open; print(sorted(heavy), sorted({'torch', 'plotly', 'pyvis', 'streamlit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split("\n")[0] == "[] []"


def test_what_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'summarize'"):
        _ = nc.summarize


@pytest.mark.usefixtures("small")
def test_the_examples_of_the_docs_work(
    real_run: Path,
    real_cache: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "photos").symlink_to(photos)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "default_folder", lambda: real_cache)
    names: dict[str, Any] = {}
    links = []
    for block in BLOCKS:
        if "app.stop()" in block:  # while it runs, it answers
            block = block.replace("app.url\n", "answers(app)\n")
            names["answers"] = lambda app: links.append(urllib.request.urlopen(app.url, timeout=20).status)
        exec(compile(block, "docs/api.md", "exec"), names)
    assert len(BLOCKS) == 7
    assert links == [200]
    assert opened == [names["app"].url]
    assert repr(names["app"]) == "the app was stopped"
    said = capsys.readouterr().out
    assert "runs/efficientnet_lite0-photos\n" in said
    assert f"tiny is shown at {opened[0]}" in said
    assert files(tmp_path / "runs" / "efficientnet_lite0-photos") == files(real_run)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["efficientnet_lite0-photos", "tiny"]
    run = names["run"]
    assert check_run(run.folder) == []
    assert [layer.name for layer in run.manifest.layers] == ["1", "3"]
    assert run.manifest.model["name"] == "tiny"
    assert run.manifest.settings["seed"] == 1
    assert run.manifest.model["preprocessing"]["size"] == 48
    assert set(run.images["prediction"]) <= {"discs", "stripes"}
    assert names["again"].manifest == run.manifest
    assert names["again"].name == "tiny"


@pytest.mark.usefixtures("small")
class TestSummarise:
    def test_a_module_stays_as_it_is_and_the_same_is_found_again(
        self, network: "Model", photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch
        from torch import nn

        monkeypatch.chdir(tmp_path)
        module = nn.Sequential(
            nn.Conv2d(3, 12, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)
        )
        module.double().train()
        run = nc.summarise(module, str(photos), quiet=True, transform=network.preprocessing)
        assert run.folder == Path("runs") / f"Sequential-{photos.name}"
        assert module.training
        assert {(value.dtype, value.requires_grad) for value in module.parameters()} == {(torch.float64, True)}
        before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
        again = nc.summarise(module, photos, quiet=True, transform=network.preprocessing)
        assert again.folder == run.folder
        assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
        other = nc.summarise(module, photos, quiet=True, transform=network.preprocessing, seed=1)
        assert other.folder.name == f"Sequential-{photos.name}-2"
        assert nc.summarise(module, photos, quiet=True, transform=network.preprocessing, seed=1).folder == other.folder

    def test_a_described_model_takes_layers_too(self, network: "Model", photos: Path, tmp_path: Path) -> None:
        run = nc.summarise(network, photos, layers="3", out=tmp_path / "run", cache=False, quiet=True)
        assert [layer.name for layer in run.manifest.layers] == ["3"]

    @pytest.mark.parametrize(
        ("model", "options", "error", "said"),
        [
            ("resnet", {}, ModelError, "there is no model 'resnet'"),
            (7, {}, ModelError, "must be a torch module, not int"),
            ("alexnet", {"sed": 1}, SettingsError, "there is no setting 'sed'; nearest: seed"),
            ("alexnet", {"seed": -1}, SettingsError, "seed is -1"),
            ("alexnet", {"transform": object()}, SettingsError, "are of a torch module"),
            (ModelRequest("alexnet", "none"), {"layers": "features.99"}, ModelError, "no layer 'features.99'"),
        ],
    )
    def test_what_cannot_be_used_is_one_line(
        self,
        photos: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        model: Any,
        options: dict[str, Any],
        error: type[NeurocartoError],
        said: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(error, match=said) as caught:
            nc.summarise(model, photos, quiet=True, **options)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_a_network_whose_code_has_changed_is_another_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from neurocarto.extraction.models import model_of

        monkeypatch.syspath_prepend(tmp_path)
        sources = set()
        for i, body in enumerate(
            ["self.last(self.first(x).relu().mean((2, 3)))", "self.last(self.first(x).tanh().mean((2, 3)))"]
        ):
            (tmp_path / f"net{i}.py").write_text(
                "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                "        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)\n"
                f"    def forward(self, x):\n        return {body}\n"
            )
            sources.add(model_of(__import__(f"net{i}").Net()).source.rpartition(" ")[2])
        assert len(sources) == 2


class TestViews:
    def test_tables_are_data_frames(self, planted: OpenedRun) -> None:
        assert list(planted.clusters.columns[:3]) == ["cluster", "layer", "size"]
        assert len(planted.neurons) == 60

    @pytest.mark.parametrize("color", api.COLOURS)
    def test_the_map_has_every_neuron_with_its_name(self, planted: OpenedRun, color: str) -> None:
        (points,) = planted.map(color, "birds").data
        assert len(points.x) == len(points.marker.color) == 60
        assert list(points.customdata[25])[0] == "block1/5"
        assert points.marker.showscale is (color != "cluster")
        last = points.marker.colorscale[-1]
        assert last[0] == 1
        assert max(points.marker.color) < points.marker.cmax == len(points.marker.colorscale) / 2 - 0.5

    def test_names_on_the_map_are_not_markup(self, planted: OpenedRun) -> None:
        shown = {text for row in planted.map().data[0].customdata for text in row}
        assert any("&lt;b&gt;" in text for text in shown)
        assert not any("<b>" in text for text in shown)

    def test_the_graph_is_what_the_app_draws(self, planted: OpenedRun) -> None:
        graph = planted.graph("birds", per_layer=4)
        assert set(graph.nodes["id"]) - {CLASS_OUTPUT} <= set(planted.clusters["cluster"])
        assert CLASS_OUTPUT in set(graph.nodes["id"])
        assert set(graph.edges["from"]) | set(graph.edges["to"]) <= set(graph.nodes["id"])
        assert set(planted.graph("birds", layers=["block0"]).nodes["layer"].dropna()) == {"block0"}

    def test_the_graph_is_one_page_that_asks_nothing_of_other_hosts(self, planted: OpenedRun, tmp_path: Path) -> None:
        graph = planted.graph()
        page = graph.save(tmp_path / "graph.html").read_text(encoding="utf-8")
        drawn = page[page.rindex("<script>") :]
        assert not re.search(r"src=|href=|@import|https?:", drawn)
        assert page.count("</script") == 2
        assert "<!--" not in page  # within which a script may end elsewhere
        (content,) = re.findall(r"rows, down } = (.*);\n", drawn)
        pictures = [node["image"] for node in json.loads(content)["nodes"] if "image" in node]
        assert len(pictures) == len(graph.nodes)
        assert all(picture.startswith("data:image/webp;base64,") for picture in pictures)
        assert "<b>tools" not in page

    def test_a_notebook_keeps_the_graph_apart(self, planted: OpenedRun) -> None:
        shown = planted.graph()._repr_html_()
        assert shown.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
        assert 'sandbox="allow-scripts"' in shown
        assert shown.count("<") == 2

    def test_patches_are_pictures_with_a_name(self, planted: OpenedRun, tmp_path: Path) -> None:
        shown = planted.patches(2, count=5)._repr_html_()
        assert shown.count('<img src="data:image/webp') == 5
        assert "cluster 2 in block0: &lt;b&gt;tools" in shown
        assert "block0/3" in planted.patches(neuron=3).html
        assert "it never fired" in planted.patches(neuron=19).html
        assert (
            planted.patches(2).save(tmp_path / "p.html").read_text().startswith('<!doctype html><meta charset="utf-8">')
        )

    def test_a_run_says_what_it_is(self, planted: OpenedRun) -> None:
        assert repr(planted).startswith(
            "<run run: model synthetic, images 12 from nowhere, layers 3, neurons 60, 48 of"
        )
        assert '<td style="text-align:left">12 from nowhere</td>' in planted._repr_html_()
        assert repr(planted.patches(0)).startswith("<Html, ")

    @pytest.mark.parametrize(
        ("ask", "said"),
        [
            (lambda run: run.graph("bird"), "the run has no class 'bird'; nearest: birds"),
            (lambda run: run.graph(layers=["block7"]), "the run has no layer 'block7'; nearest: block"),
            (lambda run: run.map("colour"), "the map has no color 'colour'; choose one of: layer"),
            (lambda run: run.map(class_="x"), "the run has no class 'x'; there are birds"),
            (lambda run: run.patches(), "give one of them"),
            (lambda run: run.patches(1, neuron=1), "give one of them"),
            (lambda run: run.patches(999), "the run has no cluster 999"),
            (lambda run: run.patches(neuron=60), "the run has no neuron 60"),
            (lambda run: nc.open(ROOT), "is not a run folder"),
        ],
    )
    def test_what_is_not_there_is_one_line(self, planted: OpenedRun, ask: Any, said: str) -> None:
        with pytest.raises(RunError, match=said) as caught:
            ask(planted)
        assert "\n" not in str(caught.value)


class TestShow:
    @pytest.fixture
    def named_like_the_demo(self, tmp_path: Path) -> Iterator[OpenedRun]:
        run = nc.open(write_synthetic_run(tmp_path / "mine" / "demo", layers=2, channels=12, images=12))
        yield run
        if run._app is not None and run._app.running:
            run._app.stop()

    def test_the_link_leads_to_this_run_and_a_second_call_to_the_same_app(
        self, named_like_the_demo: OpenedRun, opened: list[str]
    ) -> None:
        app = named_like_the_demo.show()
        assert app.url.endswith("/?run=mine%2Fdemo")
        assert f'href="{app.url}"' in app._repr_html_()
        assert named_like_the_demo.show(browser=False) is app
        assert opened == [app.url]
        app.stop()
        app.stop()  # again is no harm
        assert not app.running

    def test_an_app_that_does_not_start_is_one_line(
        self, planted: OpenedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "streamlit.py").write_text("raise SystemExit('no\\nstreamlit here')")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.setattr("neurocarto.served.ROOT", tmp_path)
        with pytest.raises(RunError, match="the app did not start: .*streamlit here"):
            planted.show()
        assert planted._app is None
