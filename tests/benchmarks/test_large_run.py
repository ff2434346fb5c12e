from pathlib import Path

from conftest import files

from benchmarks.large_run import IMPORTANT, Size, write_large_run
from neurocarto.records import CLASS_OUTPUT
from neurocarto.runs.store import Run, check_run
from neurocarto.views.lookup import Lookup

SIZE = Size(neurons=400, classes=5, layers=4, images=40, edges=3)


def test_it_is_a_whole_run_and_the_same_one_every_time(tmp_path: Path) -> None:
    first, again = (write_large_run(tmp_path / name, SIZE) for name in ("first", "again"))
    assert check_run(first) == []
    assert files(first) == files(again)
    assert files(first) != files(write_large_run(tmp_path / "other", SIZE, seed=1))


def test_it_is_as_long_as_a_real_one(tmp_path: Path) -> None:
    lookup = Lookup(Run(write_large_run(tmp_path / "run", SIZE)))
    run, clusters = lookup.run, len(lookup.clusters)
    assert len(run.neurons) == 400
    assert 0.7 * 400 / 8 < clusters < 400 / 8
    assert len(run.importance) == 5 * clusters
    assert len(run.examples) == (400 - 4) * 2 * SIZE.examples
    for name in lookup.classes:
        assert abs(len(lookup.important(name)) - IMPORTANT * clusters) < 1
        edges = lookup.edges(name)
        assert (edges["target"] == CLASS_OUTPUT).sum() == 3
        assert len(edges) == 3 * 3 * 3 + 3
