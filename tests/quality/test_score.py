import json
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from conftest import files
from synthetic import write_synthetic_run

from neurocarto.__main__ import main
from neurocarto.errors import ModelError, RunError
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.quality import score as scoring
from neurocarto.quality.judge import Judge
from neurocarto.quality.score import score
from neurocarto.runs.manifest import FILE_NAME
from neurocarto.runs.store import Run, check_run


class Toy:
    """A judge that sees colours."""

    name, preprocessing = "Toy/Judge 1", Preprocessing(4, 4, (0.5,) * 3, (0.5,) * 3)

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return pixels.reshape(len(pixels), -1).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose halves have the final clusters, but for the last; the toy judges it."""
    folder = write_synthetic_run(tmp_path / "run", layers=2, channels=24, images=30)
    neurons = Run(folder).neurons
    shown = neurons["cluster"].where(neurons["cluster"] < neurons["cluster"].max(), -1).astype(np.int32)
    neurons.assign(cluster_half0=shown, cluster_half1=shown).to_parquet(folder / "neurons.parquet", index=False)
    monkeypatch.setattr(scoring, "load_judge", lambda *_: cast(Judge, Toy()))
    return folder


def test_the_scores_lie_beside_the_run_and_leave_it_as_it_was(run: Path) -> None:
    before = files(run)
    path = score(run, "toy", draws=50)
    assert path == run / "scores" / "toy-judge-1.parquet"
    assert {name: content for name, content in files(run).items() if not name.startswith("scores/")} == before
    assert sorted(place.name for place in path.parent.iterdir()) == ["toy-judge-1.json", "toy-judge-1.parquet"]
    ((slug, (info, table)),) = Run(run).scores().items()
    assert slug == "toy-judge-1"
    assert (info["judge"], info["images"], info["pictures"], info["draws"]) == (
        "Toy/Judge 1", scoring.HALVES, "previews", 50
    )  # fmt: skip
    clusters = Run(run).clusters["cluster"]
    judged = table.loc[table["cluster"] >= 0, "cluster"]
    assert set(judged) == set(clusters) - {clusters.max()}
    assert set(table["measure"]) == {"intruder", "intruder_distinct", "coherence"}
    assert f"{len(clusters) - 1} of {len(clusters)} final clusters" in info["notes"][0]


def test_a_run_with_scores_is_whole(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", layers=2, channels=12, images=12)
    (folder / "scores").mkdir(exist_ok=True)
    (folder / "scores" / "other.json").write_text("{}")
    assert check_run(folder) == []


def test_the_same_seed_gives_the_same_bytes(run: Path) -> None:
    first, again, other = (score(run, "toy", draws=50, seed=seed).read_bytes() for seed in (3, 3, 4))
    assert first == again != other


def test_a_run_without_clusters_of_its_halves_says_what_to_do(run: Path) -> None:
    Run(run).neurons.drop(columns=["cluster_half0", "cluster_half1"]).to_parquet(run / "neurons.parquet")
    with pytest.raises(RunError, match="was made before clusters of its halves were kept: make it again, or name"):
        score(run, "toy")


def test_a_run_without_clusters_has_nothing_to_ask_about(run: Path) -> None:
    table = pd.read_parquet(run / "clusters.parquet")
    table.assign(size=np.int32(2)).to_parquet(run / "clusters.parquet", index=False)
    with pytest.raises(RunError, match="has no cluster of three neurons or more"):
        score(run, "toy")


def test_a_place_that_cannot_be_written_is_said_before_anything_is_judged(run: Path) -> None:
    (run / "scores").write_text("in the way")
    with pytest.raises(RunError, match="the scores cannot be written to .*scores: File exists"):
        score(run, "toy")


def test_a_network_that_cannot_be_loaded_again_is_judged_by_halves_only(run: Path, photos: Path) -> None:
    manifest = json.loads((run / FILE_NAME).read_text())
    manifest["model"]["weights_sha256"] = "of a file that is gone"
    (run / FILE_NAME).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="cannot be loaded again with the same weights, which --images needs"):
        score(run, "toy", images=str(photos))


def test_the_command_prints_a_row_for_every_layer(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(run), "--draws", "50", "--quiet"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Toy/Judge 1 judged the run's halves (previews) in ")
    assert said[1].split()[:3] == ["layer", "intruder", "(95"]
    assert [line.split()[0] for line in said[2:5]] == [*(layer.name for layer in Run(run).manifest.layers), "whole"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--draws", "0"], "--draws is 0; it must be between 1 and 100000"),
        (["--seed", "-1"], "--seed is -1; it must not be below 0"),
    ],
)
def test_wrong_numbers_are_one_line(
    run: Path, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(run), *arguments]) == 2
    assert capsys.readouterr().err == f"neurocarto: {problem}\n"


@pytest.mark.slow
def test_images_hold_clusters_and_edges(
    real_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(real_run, folder)
    monkeypatch.setattr(scoring, "load_judge", lambda *_: cast(Judge, Toy()))
    score(folder, "toy", images=str(photos), draws=50)
    ((info, table),) = Run(folder).scores().values()
    assert info["pictures"] == "originals"
    assert info["notes"] == ["these are the images that the clusters were formed on, which flatters them"]
    whole = table[(table["layer"] == "") & (table["cluster"] < 0)].set_index("measure")
    assert {"intruder", "intruder_distinct", "coherence", "peak_agreement", "faithfulness", "strongest_decile"} <= {
        *whole.index
    }
    assert whole.loc["faithfulness", "value"] > 0.5
