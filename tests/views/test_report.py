import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from synthetic import write_synthetic_run

from neurocarto.errors import RunError
from neurocarto.runs.names import keep
from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from neurocarto.views.report import POLICY, report, write_report
from views.conftest import MARKUP

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "link", "br", "img", "hr", "input"}
JUDGE = f"judge {MARKUP}"


class Document(HTMLParser):
    """What a browser would find in a file: elements with their attributes, the text, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def values(self, name: str, tag: str = "") -> list[str]:
        return [given[name] or "" for kind, given in self.elements if name in given and tag in ("", kind)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("report") / "run", judges=("EfficientNet-Lite2",))


@pytest.fixture(scope="module")
def scored(run: Path) -> Lookup:
    return Lookup(Run(run))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    return Lookup(Run(write_synthetic_run(folder, classes=(MARKUP, "b"), judges=(JUDGE,))))


def document(lookup: Lookup, class_: str = "", pixels: bool = True) -> Document:
    return Document(report(lookup, Patches(lookup.run), class_, pixels))


@pytest.mark.parametrize("class_", ["", "birds", "fish"])
@pytest.mark.parametrize("pixels", [True, False])
def test_a_report_refers_to_nothing_outside_itself(scored: Lookup, class_: str, pixels: bool) -> None:
    found = document(scored, class_, pixels)
    ids = {f"#{name}" for name in found.values("id")}
    for name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
        for value in found.values(name):
            assert value in ids or value.startswith("data:")
    assert not re.search(r"url\(|@import|https?:", report(scored, Patches(scored.run), class_, pixels))
    assert not {tag for tag, _ in found.elements} & {"script", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, given in found.elements for name in given if name.startswith("on")]
    assert found.values("content", "meta")[0] == POLICY
    assert len(found.values("id")) == len({*found.values("id")})


def test_a_report_of_a_class_has_map_graph_cards_and_scorecard(scored: Lookup) -> None:
    found = document(scored, "birds")
    best = scored.important("birds")["cluster"].tolist()
    assert {f"c{cluster}" for cluster in best[:20]} <= {*found.values("id")}
    assert {"map", "graph", "clusters", "table", "quality", "made", "method", "limits", "sources"} <= {
        *found.values("id")
    }
    for said in ("importance 0.", "(q 0.", "Odd one out named in", "random groups", "label of 1"):
        assert said in found.text
    assert re.search(r"Without it, the output of birds falls by [\d.]+% \([\d.]+% … [\d.]+%\)", found.text)
    assert "without 4 random neurons of block" in found.text
    assert scored.run.manifest.run_id in found.text


def test_a_report_of_a_run_has_every_class_and_every_layer(scored: Lookup) -> None:
    found = document(scored)
    for name in (*scored.classes, *scored.layers, "synthetic", "seed", "false_discovery_rate"):
        assert name in found.text


@pytest.mark.parametrize("class_", ["", "bird"])
def test_the_demos_report_is_small_and_gives_the_evidence_of_labels(class_: str) -> None:
    lookup = Lookup(Run(ROOT / "data" / "demo"))
    text = report(lookup, Patches(lookup.run), class_)
    assert len(text.encode()) < 2_000_000
    assert "Over-represented among its patches: bird" in Document(text).text


def test_every_neuron_with_a_place_is_on_the_map(scored: Lookup) -> None:
    found = document(scored, "birds")
    paths = [given["d"] or "" for tag, given in found.elements if tag == "path" and "h0" in (given["d"] or "")]
    dots = np.array([dot for path in paths for dot in _walked(path)])
    assert 0.9 * (~scored.silent).sum() < len(dots) <= (~scored.silent).sum()
    assert dots.min() == 14
    assert dots.max() == 1000 - 14
    places = scored.places[~scored.silent]
    for axis, sign in ((0, 1), (1, -1)):
        ends = np.quantile(sign * places[:, axis], [0.25, 0.5, 0.75])
        drawn = np.quantile(dots[:, axis], [0.25, 0.5, 0.75])
        assert (drawn[1] - drawn[0]) / (drawn[2] - drawn[0]) == pytest.approx(
            (ends[1] - ends[0]) / (ends[2] - ends[0]), abs=0.05
        )


def _walked(path: str) -> list[tuple[int, int]]:
    x = y = 0
    places = []
    for step in re.findall(r"m(-?\d+) (-?\d+)h0", path):
        x, y = x + int(step[0]), y + int(step[1])
        places.append((x, y))
    return places


def test_a_picture_is_embedded_once_however_often_it_shows(scored: Lookup) -> None:
    found = document(scored, "birds")
    pictures = [value for value in found.values("href", "image") if value.startswith("data:image/webp")]
    assert len(pictures) == len({*pictures}) > 20
    assert len(found.values("href", "use")) > len(pictures)


@pytest.mark.parametrize("class_", ["", "birds"])
def test_without_pixels_no_picture_and_no_path_leaves_the_run(run: Path, scored: Lookup, class_: str) -> None:
    text = report(scored, Patches(scored.run), class_, pixels=False)
    paths = scored.run.images["path"].tolist()
    assert "data:image" not in text
    assert str(scored.run.manifest.images["source"]) not in text
    assert not [path for path in paths if path in text or Path(path).name in text]
    assert "made without images" in text
    assert str(run) not in text
    shown = report(scored, Patches(scored.run), class_)
    assert "data:image" in shown
    assert any(path in shown for path in paths)


@pytest.mark.parametrize("class_", ["", MARKUP])
def test_markup_in_names_shows_as_text(hostile: Lookup, class_: str) -> None:
    found = document(hostile, class_)
    assert not [tag for tag, _ in found.elements if tag == "script"]
    assert MARKUP in found.text
    assert JUDGE in found.text


def test_the_same_run_gives_the_same_report(run: Path, scored: Lookup) -> None:
    again = Lookup(Run(run))
    assert report(again, Patches(again.run), "fish") == report(scored, Patches(scored.run), "fish")


def test_a_run_that_nobody_scored_and_a_class_without_clusters_have_reports(tmp_path: Path) -> None:
    lookup = Lookup(Run(write_synthetic_run(tmp_path / "run", quality=False)))
    none = lookup.all_important.head(0)
    lookup.__dict__ |= {"all_important": none, "_important": lambda class_: none}
    assert "No judge has scored this run" in document(lookup).text
    assert "None to show" in document(lookup, "birds").text


@pytest.mark.parametrize(("class_", "advice"), [("bird", "did you mean 'birds'?"), ("zzz", "info` lists classes")])
def test_a_class_that_does_not_exist_is_said_in_one_line(run: Path, tmp_path: Path, class_: str, advice: str) -> None:
    with pytest.raises(RunError) as raised:
        write_report(run, tmp_path / "out.html", class_)
    assert repr(class_) in str(raised.value)
    assert str(raised.value).endswith(advice)
    assert "\n" not in str(raised.value)
    assert not [*tmp_path.iterdir()]


def test_a_report_takes_the_place_of_an_older_one_and_nothing_else_is_left(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    out.write_text("older")
    assert write_report(run, out, "birds", pixels=False) == out
    assert out.read_text().startswith("<!doctype html>")
    assert [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize("name", ["photo.jpg", "folder.html", "missing/out.html"])
def test_what_is_no_place_for_a_report_stays_as_it_is(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(RunError, match="cannot be written"):
        write_report(run, tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder.html", "photo.jpg"]
    assert (tmp_path / "photo.jpg").read_text() == "mine"


def test_what_people_call_a_cluster_is_in_a_written_report(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    shutil.copytree(run, folder)
    cluster = int(Run(folder).importance["cluster"].iloc[0])
    keep(folder, Run(folder).manifest.run_id, lambda names: names.with_name(cluster, "beaks & bills", ""))
    assert "beaks & bills" in Document(write_report(folder, tmp_path / "out.html").read_text(encoding="utf-8")).text
    (folder / "names.json").write_text("{")
    assert "beaks & bills" not in write_report(folder, tmp_path / "out.html").read_text(encoding="utf-8")
