"""A network of which we know what it sees: channels 0 to 3 of every layer see red, and output 0 hangs on them."""

import base64
import io
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import files
from PIL import Image
from synthetic import CLASSES, write_synthetic_run
from torch import Tensor, nn

from neurocarto.__main__ import main
from neurocarto.errors import ModelError, RunError
from neurocarto.extraction import decoding
from neurocarto.extraction.decoding import ORIENTATION, decode_alone
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.look import CLOSELY, COMPARED, _heaviest, _Look, look
from neurocarto.runs.store import Run

CHANNELS, RED = 40, 0


class Seer(nn.Module):
    """Layers of 7 × 7 cells of 16 pixels each. Channels 0 to 3 see red, the others a little of everything."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block0 = nn.Conv2d(3, CHANNELS, 16, 16)
        self.block1, self.block2 = (nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(2))
        self.out = nn.Linear(CHANNELS, 3)
        with torch.no_grad():
            self.block0.weight.uniform_(0, 0.001)
            self.block0.bias.fill_(0.3)
            self.block0.weight[:4] = torch.tensor([1.0, -1.0, -1.0])[:, None, None] / 200  # red alone gives about 4
            for layer in (self.block1, self.block2):
                layer.weight.copy_(torch.eye(CHANNELS)[:, :, None, None])
                layer.bias.zero_()
            self.out.weight.fill_(0.01)
            self.out.bias.zero_()
            self.out.weight[0, :4] = 2.0
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.block0, self.block1, self.block2):
            x = layer(x).clamp(0, 6)
        return self.out(x.amax((2, 3)))


@pytest.fixture(scope="module")
def seer() -> Model:
    preprocessing = Preprocessing(resize=112, size=112, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Model("seer", Seer().eval(), (), preprocessing, ("red", "output 1", "output 2"), "tests", "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(write_synthetic_run(tmp_path_factory.mktemp("look") / "run"))


def dotted(x: int, y: int) -> Image.Image:
    """A dark image of 300 × 200 with a red square of 30."""
    pixels = np.full((200, 300, 3), 40, np.uint8)
    pixels[y : y + 30, x : x + 30] = (250, 0, 0)
    return Image.fromarray(pixels)


def test_what_sees_the_image_fires_at_its_place_and_the_answer_rests_on_it(run: Run, seer: Model) -> None:
    found = _Look(run, seer, dotted(190, 40)).content()
    assert (found["run"], found["width"], found["height"]) == ("synthetic0", 300, 200)
    assert found["compared"] == 30 <= COMPARED
    assert found["answers"][0]["name"] == "red"
    # Output 2 has no name of its own, and one class of the run means it.
    assert {answer["output"]: answer["name"] for answer in found["answers"]} == {0: "red", 1: "output 1", 2: CLASSES[2]}
    closely = {entry["cluster"]: entry for entry in found["closely"]}
    seeing_red = (0, 9, 18)  # of each layer
    assert len(closely) == CLOSELY
    for cluster in seeing_red:
        entry = closely[cluster]
        assert entry["drop"] > 0.4
        assert entry["drop"] > 4 * entry["random"]  # a random set may hold a red channel or two
        assert entry["random_low"] <= entry["random"] <= entry["random_high"]
        for neuron in entry["neurons"]:
            x0, y0, x1, y1 = neuron["box"]
            assert x0 < 190 < 220 < x1
            assert y0 < 40 < 70 < y1
            assert x1 - x0 == pytest.approx(56 * 200 / 112, abs=0.2)  # the layer's example box on this image
    assert all(abs(entry["drop"]) < 0.05 for number, entry in closely.items() if number not in seeing_red)


def test_a_strength_is_the_mean_share_of_what_the_strongest_images_reached(run: Run, seer: Model) -> None:
    found = _Look(run, seer, dotted(190, 40)).content()
    strength = {entry["cluster"]: entry["strength"] for entry in found["clusters"]}
    pixels = seer.inputs([dotted(190, 40)])
    maps = seer.module.get_submodule("block0")(pixels).clamp(0, 6).amax((2, 3))[0, :4].numpy()
    expected = (maps / run.neurons["max_activation"].to_numpy()[:4]).mean()
    assert strength[0] == pytest.approx(expected, abs=1e-3)


def test_clusters_come_by_the_share_of_images_on_which_they_are_weaker(run: Run, seer: Model) -> None:
    entries = _Look(run, seer, dotted(0, 0)).content()["clusters"]
    assert sorted(entry["cluster"] for entry in entries) == run.clusters["cluster"].tolist()
    ranks = [(-entry["weaker"], -entry["strength"]) for entry in entries]
    assert ranks == sorted(ranks)
    assert all(0 <= entry["weaker"] <= 1 for entry in entries)


def test_what_an_image_lacks_is_weaker_on_few_images(run: Run, seer: Model) -> None:
    found = [_Look(run, seer, Image.new("RGB", (64, 64), colour)).content() for colour in ("cyan", "red")]
    lacking, having = ({e["cluster"]: e["weaker"] for e in each["clusters"]}[RED] for each in found)
    assert lacking < 0.3 < 0.9 < having


def test_an_answer_that_is_no_stronger_than_the_others_has_nothing_to_lose(run: Run, seer: Model) -> None:
    module = Seer().eval()
    module.out.weight.zero_()
    found = _Look(run, replace(seer, module=module), dotted(0, 0)).content()
    assert {entry["drop"] for entry in found["closely"]} == {None}


def test_the_picture_is_small_and_upright(run: Run, seer: Model) -> None:
    found = _Look(run, seer, Image.new("RGB", (2000, 1000), "red")).content()
    with Image.open(io.BytesIO(base64.b64decode(found["picture"]))) as picture:
        assert picture.size == (640, 320)


@pytest.mark.parametrize("size", [(1, 1), (50, 1), (3, 150)])
def test_the_smallest_images_are_looked_at(run: Run, seer: Model, size: tuple[int, int]) -> None:
    found = _Look(run, seer, Image.new("RGB", size, "red")).content()
    assert json.loads(json.dumps(found, allow_nan=False))["width"] == size[0]


def test_a_manifest_that_describes_another_network_is_one_line(run: Run, seer: Model) -> None:
    module = Seer().eval()
    module.block1 = nn.Conv2d(CHANNELS, 8, 1)
    module.block2 = nn.Conv2d(8, CHANNELS, 1)
    with pytest.raises(ModelError, match=r"does not run as its manifest says: .*"):
        _Look(run, replace(seer, module=module), dotted(0, 0)).content()
    with pytest.raises(ModelError, match="the model has no layer 'block0'"):
        _Look(run, replace(seer, module=nn.Sequential()), dotted(0, 0)).content()


def test_a_run_without_pictures_cannot_be_compared_with(run: Run, seer: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "preview", lambda *_: None)
    with pytest.raises(RunError, match="keeps pictures of fewer than 8 images"):
        _Look(run, seer, dotted(0, 0)).content()


def test_the_heaviest_square_is_the_nearest_of_several() -> None:
    gradient = torch.zeros(1, 3, 10, 10)
    gradient[0, 0, 1, 1] = gradient[0, 2, 8, 8] = -1
    y, x = _heaviest(gradient, 3, (9, 9))
    assert abs(y - 8.5) <= 1.5
    assert abs(x - 8.5) <= 1.5
    assert _heaviest(torch.zeros(1, 3, 4, 4), 2, (1.5, 3.0)) == (1.5, 3.0)
    assert _heaviest(gradient, 10, (0, 0)) == (5.0, 5.0)


def test_a_factory_runs_only_where_it_is_named(run: Run) -> None:
    lying = Run(run.folder)
    lying.manifest = replace(run.manifest, model={**run.manifest.model, "name": "os:abort"})
    with pytest.raises(ModelError, match="whose code runs only where you say so: --model os:abort"):
        look(lying, dotted(0, 0))


def png(width: int, height: int) -> bytes:
    """The begin of a PNG of one bit a pixel, with hardly any pixels in it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))
HOSTILE = {
    "nothing": (b"", "not an image that Pillow can read"),
    "text": (b"<svg onload=alert(1)>", "not an image that Pillow can read"),
    "truncated": (saved(NOISE, "jpeg")[:2000], "image file is truncated"),
    "cut PNG": (saved(NOISE, "png")[:300], "broken|truncated"),
    "bomb": (png(60_000, 60_000), "more than 100,000,000 pixels"),
    "large": (png(8_000, 8_000), "more than 50,000,000 pixels"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that Pillow can read"),
    "PDF": (b"%PDF-1.4\n", "not an image that Pillow can read"),
    "line": (saved(Image.new("RGB", (200, 1)), "png"), "more elongated than 50 to 1"),
    "grey levels": (saved(Image.new("F", (9, 9)), "tiff"), "grey levels of unknown range"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_image_is_one_line_and_leaves_nothing(
    run: Run, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, problem = HOSTILE[name]
    (tmp_path / "own.png").write_bytes(content)
    before = files(run.folder)
    assert main(["look", str(run.folder), str(tmp_path / "own.png"), "--json", str(tmp_path / "out.json")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("neurocarto: own.png: ")
    assert said.err.count("\n") == 1
    assert any(each in said.err for each in problem.split("|"))
    assert [path.name for path in tmp_path.iterdir()] == ["own.png"]
    assert files(run.folder) == before


def test_a_huge_file_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_BYTES", 1_000_000)
    with pytest.raises(decoding.ImagesError, match=r"^own.png: more than 1 MB$"):
        decode_alone(bytes(1_000_001), "own.png")


def test_images_of_every_kind_are_seen_as_a_person_sees_them() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    kinds = {
        "rotated": saved(NOISE, "jpeg", exif=exif),
        "CMYK": saved(NOISE.convert("CMYK"), "jpeg"),
        "animated": saved(NOISE, "gif", save_all=True, append_images=[NOISE.rotate(90)]),
        "transparent": saved(NOISE.convert("RGBA"), "png"),
    }
    sizes = {name: (image.mode, image.size) for name, image in ((k, decode_alone(v, k)) for k, v in kinds.items())}
    assert sizes.pop("rotated") == ("RGB", (90, 120))
    assert set(sizes.values()) == {("RGB", (120, 90))}


def test_a_file_or_a_run_that_is_not_there_is_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["look", str(run.folder), str(tmp_path / "gone.png")]) == 2
    assert "cannot read the image" in capsys.readouterr().err
    (tmp_path / "own.png").write_bytes(saved(NOISE, "png"))
    assert main(["look", str(tmp_path), str(tmp_path / "own.png")]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert main(["look", str(run.folder), str(tmp_path / "own.png")]) == 2
    assert "synthetic (tests), cannot be loaded again with the same weights; --weights" in capsys.readouterr().err


@pytest.fixture(scope="module")
def found(real_run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a look at an image of the real run finds in that run."""
    out = tmp_path_factory.mktemp("found") / "own.json"
    before = files(real_run)
    assert main(["look", str(real_run), str(photos / "discs" / "02.png"), "--json", str(out)]) == 0
    assert files(real_run) == before
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    return json.loads(out.read_text())


class TestOnARealRun:
    """The packaged network, as its manifest describes it."""

    def test_the_answer_is_that_of_the_run(self, real_run: Path, found: dict) -> None:
        row = Run(real_run).images.set_index("path").loc["discs/02.png"]
        assert found["answers"][0]["name"] == row["prediction"]
        assert found["answers"][0]["confidence"] == pytest.approx(row["confidence"], abs=1e-3)
        assert [found["width"], found["height"]] == row[["width", "height"]].tolist()

    def test_activations_are_those_of_the_run_and_boxes_lie_where_its_do(self, real_run: Path, found: dict) -> None:
        run = Run(real_run)
        image = int(run.images.set_index("path").loc["discs/02.png", "image"])
        examples = run.examples[run.examples["image"] == image].set_index("neuron")
        near = []
        for entry in found["closely"]:
            for neuron in entry["neurons"]:
                if neuron["neuron"] in examples.index:
                    known = examples.loc[neuron["neuron"]]
                    assert neuron["activation"] == pytest.approx(known["activation"], rel=1e-3, abs=1e-3)
                    x0, y0, x1, y1 = neuron["box"]
                    assert x1 - x0 == pytest.approx(known["x1"] - known["x0"], abs=0.2)
                    away = np.hypot(x0 - known["x0"], y0 - known["y0"]) / (x1 - x0)
                    near.append(away)
        assert len(near) > 10
        assert np.median(near) < 0.35

    def test_the_command_says_what_fires(
        self, real_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["look", str(real_run), str(photos / "stripes" / "01.png")]) == 0
        answers, how, *lines = capsys.readouterr().out.splitlines()
        assert answers.startswith("answers: ")
        assert how.startswith("clusters by the share of 24 images of the run")
        assert len(lines) == CLOSELY
        assert all("weaker on" in line and "loss" in line for line in lines)

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            (["--weights", "none"], "cannot be loaded again with the same weights; --weights names their file"),
            (["--weights", "gone.pth"], "there is no weights file 'gone.pth'"),
            (
                ["--model", "efficientnet_lite00"],
                "there is no model 'efficientnet_lite00'; nearest: efficientnet_lite0",
            ),
        ],
    )
    def test_another_network_is_one_line(
        self, real_run: Path, photos: Path, options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["look", str(real_run), str(photos / "discs" / "02.png"), *options]) == 2
        said = capsys.readouterr().err
        assert problem in said
        assert said.count("\n") == 1
