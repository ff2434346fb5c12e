"""Journeys over every page with every key of the selection. Charts are driven in tests/browser."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard.conftest import ROOT, Visit
from neurocarto.dashboard import memory

PAGES = ["", "explore", "cascade", "classes", "quality", "study", "about"]
SELECTIONS: list[dict[str, object]] = [
    {},
    {"v": "1"},
    {"run": "planted"},
    {"class_": "birds"},
    {"class_": "fish", "layer": ["block0", "block2"]},
    {"clusters": "3"},
    {"clusters": "3.4.12.13.20"},
    {"clusters": "12", "class_": "birds", "branches": "0"},
    {"neuron": "9"},
    {"neuron": "39"},
    {"neuron": "38", "clusters": "1"},
    {"colour": "importance", "class_": "birds", "show": "all"},
    {"colour": "rate", "show": "clusters", "clusters": "3"},
    {"colour": "cluster"},
    {"class_": "birds", "min": "0.9", "edges": "0"},
    {"class_": "birds", "min": "1"},
    {"map": "1"},
    {"map": "4", "pictures": "off"},
    {"class_": "birds", "branches": "1", "clusters": "3"},
    {"lasso": "-9,-9_9,-9_9,9_-9,9"},
    {"lasso": "900,900_901,900_900,901"},
    {"class_": "birds", "with": "fish"},
    {"class_": "birds", "with": "birds", "min": "0.9"},
    {"class_": "birds", "with": "fish", "clusters": "3.4", "layer": "block1", "min": "0.99"},
    {"class_": "birds", "confusion": ["fish", "birds"]},
    {"study": "7", "questions": "3"},
]
BROKEN: list[dict[str, object]] = [
    {"run": "gone"},
    {"v": "99", "class_": "gone", "layer": "gone", "clusters": "7.9999.x", "neuron": "10000", "lasso": "1"},
    {"clusters": "9999", "class_": "birds"},
    {"neuron": "'; drop"},
    {"colour": "ultraviolet"},
    {"map": "5", "with": "gone", "confusion": ["gone", "birds"], "branches": "99", "pictures": "perhaps"},
    {"confusion": "birds"},
    {"study": "-1", "questions": "51"},
    {"class_": "birds", "with": "gone", "confusion": ["birds", "gone"]},
]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("params", [*SELECTIONS, *BROKEN], ids=str)
def test_every_page_shows_every_selection(visit: Visit, page: str, params: dict[str, object]) -> None:
    app = visit(page, **params)
    assert not app.exception
    assert app.selectbox(key="nc_run_0").value == "planted"


@pytest.mark.parametrize("params", BROKEN, ids=str)
def test_what_a_link_asks_in_vain_is_said(visit: Visit, params: dict[str, object]) -> None:
    assert "status" in str([element.proto for element in visit(**params).get("html")])


def test_a_link_to_a_run_that_is_gone_keeps_what_can_be_kept(visit: Visit) -> None:
    app = visit(v="1", run="gone", class_="fish", layer="block1", clusters="3", colour="rate")
    said = str([element.proto for element in app.get("html")])
    assert "is shown instead" in said
    assert "mean nothing in another run" in said
    assert app.selectbox(key="nc_class_0").value == "fish"
    assert app.multiselect(key="nc_layers_0").value == ["block1"]
    assert app.button(key="nc_clear").disabled


def test_the_app_opens_on_the_class_with_most_important_clusters(visit: Visit) -> None:
    app = visit()
    assert app.selectbox(key="nc_class_0").value in {"birds", "fish", '<b>tools & "signs"</b>'}


def test_filters_change_the_url_and_keep_each_other(visit: Visit) -> None:
    app = visit(v="1", run="planted", class_="birds", clusters="3")
    app.multiselect(key="nc_layers_0").select("block1").run()
    app.selectbox(key="nc_class_0").set_value("fish").run()
    assert app.query_params["class"] == "fish"
    assert app.query_params["layer"] == "block1"
    assert app.query_params["clusters"] == "3"
    assert not app.exception


def test_clear_selection_keeps_the_filters(visit: Visit) -> None:
    app = visit(v="1", run="planted", class_="birds", clusters="3", neuron="5")
    app.button(key="nc_clear").click().run()
    assert "clusters" not in app.query_params
    assert "neuron" not in app.query_params
    assert app.query_params["class"] == "birds"
    assert app.button(key="nc_clear").disabled


def test_filters_show_their_counts(visit: Visit) -> None:
    app = visit(v="1", run="planted")
    assert app.selectbox(key="nc_class_0").options[0] == "All images (27 clusters)"
    assert app.multiselect(key="nc_layers_0").options == [f"block{i} (40 neurons)" for i in range(3)]


@pytest.mark.parametrize("page", PAGES)
def test_without_a_run_the_page_explains_how_to_make_one(
    page: str, tmp_path: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROCARTO_RUNS", str(tmp_path / "nothing"))
    app = visit(page)
    assert not app.exception
    assert "python -m neurocarto run" in app.code[0].value


def test_a_damaged_run_is_told_from_the_others(visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "broken"
    damaged.mkdir()
    (damaged / "manifest.json").write_text('{"format": 99}')
    monkeypatch.setenv("NEUROCARTO_RUNS", os.pathsep.join([os.environ["NEUROCARTO_RUNS"], str(tmp_path)]))
    app = visit(run="broken")
    assert not app.exception
    assert app.selectbox(key="nc_run_0").value == "planted"


def test_pages_are_short_and_streamlit_stays_in_its_place() -> None:
    for path in [ROOT / "app.py", *(ROOT / "pages").glob("*.py")]:
        assert len(path.read_text().splitlines()) < 60
    for path in (ROOT / "neurocarto").rglob("*.py"):
        if "dashboard" not in path.parts:
            assert "import streamlit" not in path.read_text()


def test_the_app_loads_none_of_the_computing_packages(run_folder: Path) -> None:
    program = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=30)\n"
        "app.query_params['run'] = 'planted'\n"
        "assert not app.run().exception\n"
        "print(sorted({'torch', 'umap', 'numba', 'datasketch', 'sklearn'} & set(sys.modules)))"
    )
    environment = {**os.environ, "NEUROCARTO_RUNS": str(run_folder.parent), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_garbage_is_not_looked_for_in_modules(visit: Visit) -> None:
    gc.unfreeze()
    memory.leave_modules_alone.cache_clear()
    visit()
    assert id(memory) not in {id(each) for each in gc.get_objects()}
