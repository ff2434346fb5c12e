from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import make_demo
from scripts.make_demo import KINDS, LEFT_OUT, PLACES, WRITING, find_stamps, flat_share, kind_of, write_photographs
from scripts.scenes import SCENES


def save_stamp(root: Path, name: str, *, drawing: bool = False, size: tuple[int, int] = (60, 48)) -> Path:
    """Write a round cut-out: noise like a photograph's, or one colour like a drawing's."""
    width, height = size
    rng = np.random.default_rng(len(name))
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[..., :3] = 120 if drawing else rng.integers(0, 255, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) / (width / 2)) ** 2 + ((y - height / 2) / (height / 2)) ** 2 < 1
    pixels[..., 3] = np.where(inside, 255, 0)
    file = root / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    root = tmp_path / "stamps"
    for name in ("animals/birds/owl", "animals/mammals/equines/zebra", "food/fruit/lemon", "town/roadsigns/no_uturn"):
        save_stamp(root, name)
    return root


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("animals/birds/owl", "bird"),
        ("animals/mammals/elephant", "other mammal"),
        ("animals/mammals/equines/zebra", "hoofed animal"),
        ("animals/mammals/aquatic/dolphin", "sea animal"),
        ("animals/mammals/aquatic/otter", "carnivore"),
        ("hobbies/music/wind/bassoon", "musical instrument"),
        ("hobbies/camera_35mm", "tool and household"),
        ("plants/flowers/plastic/rose", "flower"),
        ("plants/thyme", "tree and plant"),
    ],
)
def test_the_longest_source_that_fits_gives_the_label(name: str, label: str) -> None:
    kind = kind_of(name)
    assert kind is not None
    assert kind.label == label


@pytest.mark.parametrize("name", ["symbols/math/1", "animals/birdsong", "people/fireman", "hobbies/chess"])
def test_a_stamp_outside_every_source_has_no_kind(name: str) -> None:
    assert kind_of(name) is None


def test_every_place_exists_and_every_exception_belongs_to_a_kind() -> None:
    assert {s for kind in KINDS for s in kind.scenes} | {s for p in PLACES.values() for s in p} <= set(SCENES)
    assert all(kind_of(name) for name in (*LEFT_OUT, *PLACES, *(WRITING - {"town"})))


def test_drawings_copies_and_specks_are_left_out(stamps: Path) -> None:
    save_stamp(stamps, "animals/birds/flat", drawing=True)
    save_stamp(stamps, "animals/birds/cartoon/tux")
    save_stamp(stamps, "animals/mammals/bears/toys/edward_bear")
    save_stamp(stamps, "animals/birds/owl_mirror")
    save_stamp(stamps, "animals/birds/speck", size=(30, 20))
    save_stamp(stamps, "animals/fish/shrimp")
    assert [stamp.name for stamp in find_stamps(stamps)] == [
        "animals/birds/owl",
        "animals/mammals/equines/zebra",
        "food/fruit/lemon",
        "town/roadsigns/no_uturn",
    ]


def test_flat_share_counts_opaque_neighbours_only(tmp_path: Path) -> None:
    with Image.open(save_stamp(tmp_path, "drawing", drawing=True)) as drawing:
        assert flat_share(drawing) == 1.0
    with Image.open(save_stamp(tmp_path, "photograph")) as photograph:
        assert flat_share(photograph) < 0.01
    assert flat_share(Image.new("RGBA", (8, 8))) == 0.0


def test_the_same_seed_gives_the_same_bytes(stamps: Path, tmp_path: Path) -> None:
    found = list(find_stamps(stamps))
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert write_photographs(found, tmp_path / name, seed) == 8
    first, again, other = (files_below(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_a_picture_does_not_depend_on_the_other_stamps(stamps: Path, tmp_path: Path) -> None:
    found = list(find_stamps(stamps))
    write_photographs(found, tmp_path / "all", 0)
    write_photographs(found[1:2], tmp_path / "one", 0)
    alone, together = files_below(tmp_path / "one"), files_below(tmp_path / "all")
    assert set(alone) == {"hoofed animal/equines-zebra-0.jpg", "hoofed animal/equines-zebra-1.jpg"}
    assert alone.items() <= together.items()


def test_signs_are_never_mirrored(stamps: Path) -> None:
    assert {stamp.name: stamp.mirrorable for stamp in find_stamps(stamps)} == {
        "animals/birds/owl": True,
        "animals/mammals/equines/zebra": True,
        "food/fruit/lemon": True,
        "town/roadsigns/no_uturn": False,
    }


def test_old_pictures_do_not_stay(stamps: Path, tmp_path: Path) -> None:
    write_photographs(list(find_stamps(stamps)), tmp_path / "out", 0)
    write_photographs([], tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


class FakePipeline:
    """Stands in for the pipeline: notes what it was asked for and leaves a run, or fails."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode
        self.asked: list[list[str]] = []

    def __call__(self, command: list[str], **_: object) -> "FakePipeline":
        self.asked.append(command)
        if self.returncode == 0 and "run" in command:
            out = Path(command[command.index("--out") + 1])
            out.mkdir(parents=True)
            (out / "manifest.json").write_text("new")
        return self


@pytest.mark.parametrize(("returncode", "left"), [(0, "new"), (2, "old")])
def test_a_run_takes_the_old_ones_place_only_when_it_is_whole(
    returncode: int, left: str, stamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = FakePipeline(returncode)
    monkeypatch.setattr(make_demo.subprocess, "run", pipeline)
    out, photographs = tmp_path / "run", tmp_path / "photographs"
    out.mkdir()
    (out / "manifest.json").write_text("old")
    arguments = ["--stamps", str(stamps), "--photographs", str(photographs), "--out", str(out), "--seed", "3"]

    assert make_demo.main([*arguments, "--photographs-only"]) == 0
    assert pipeline.asked == []
    assert make_demo.main(arguments) == returncode
    assert pipeline.asked[0][1:6] == ["-m", "neurocarto", "run", "--images", str(photographs)]
    assert pipeline.asked[0][-6:] == ["--seed", "3", "--threads", "2", "--influence-images", "4"]
    scored = [["-m", "neurocarto", "score", str(tmp_path / ".run-fresh"), "--seed", "3"]]
    assert [command[1:] for command in pipeline.asked[1:]] == (scored if returncode == 0 else [])
    assert (out / "manifest.json").read_text() == left
