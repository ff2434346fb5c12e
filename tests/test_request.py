"""What decides a network's outputs is known without torch, and every part of it changes the key."""

import subprocess
import sys
from pathlib import Path

import pytest

from neurocarto.errors import ModelError
from neurocarto.request import PACKAGED, ModelRequest, file_sha256, packaged_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_keys_are_made_without_torch() -> None:
    code = (
        "import sys; from neurocarto.request import ModelRequest; ModelRequest().key(); "
        "ModelRequest('resnet18').key(); ModelRequest('torchvision.models:resnet18').key(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parent.parent)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_weights_are_named_by_their_hash(name: str) -> None:
    path = packaged_file(name)
    assert file_sha256(path).startswith(path.stem.rpartition("-")[2])
    assert ModelRequest(name).key()["weights"] == file_sha256(path)


def test_files_count_by_their_contents(here: Path) -> None:
    for name, text in [
        ("w.pth", "1"),
        ("v.pth", "1"),
        ("c.txt", "a"),
        ("d.txt", "a"),
        ("p.json", "{}"),
        ("q.json", "{}"),
    ]:
        (here / name).write_text(text)
    first = ModelRequest("resnet18", "w.pth", (), "p.json", Path("c.txt")).key()
    assert ModelRequest("resnet18", "v.pth", (), "q.json", Path("d.txt")).key() == first
    for changed, part in [("w.pth", "weights"), ("p.json", "preprocess"), ("c.txt", "class_names")]:
        before = (here / changed).read_text()
        (here / changed).write_text("[2]")
        now = ModelRequest("resnet18", "w.pth", (), "p.json", Path("c.txt")).key()
        assert {key for key in now if now[key] != first[key]} == {part}
        (here / changed).write_text(before)


def test_name_weights_layers_and_pairs_count() -> None:
    requests = [
        ModelRequest("resnet18"),
        ModelRequest("resnet34"),
        ModelRequest("resnet18", "none"),
        ModelRequest("resnet18", layers=("layer1.*",)),
        ModelRequest("resnet18", preprocess="size=64"),
    ]
    keys = [request.key() for request in requests]
    assert all(keys.count(key) == 1 for key in keys)
    assert keys[0]["weights"] == "DEFAULT"
    assert set(keys[0]["code"]) == {"torch", "torchvision"}


class TestFactories:
    def key(self, name: str) -> str:
        return str(ModelRequest(name).key()["code"]["factory"])

    def test_a_module_counts_with_what_lies_beside_it(self, here: Path) -> None:
        (here / "net_a1.py").write_text("raise SystemExit")
        first = self.key("net_a1:make")
        (here / "notes.txt").write_text("no code")
        assert self.key("net_a1:make") == first
        (here / "helper.py").write_text("x = 1")
        second = self.key("net_a1:make")
        (here / "net_a1.py").write_text("raise SystemExit  # more")
        assert len({first, second, self.key("net_a1:make")}) == 3

    @pytest.mark.parametrize("init", [True, False])
    def test_a_package_counts_as_a_whole_and_nothing_is_run(self, here: Path, init: bool) -> None:
        inner = here / f"pack_{init}" / "deep"
        inner.mkdir(parents=True)
        if init:
            (inner.parent / "__init__.py").write_text("raise SystemExit")
        (inner / "net.py").write_text("raise SystemExit")
        (here / "beside.py").write_text("1")
        first = self.key(f"pack_{init}.deep.net:make")
        (here / "beside.py").write_text("2")
        assert self.key(f"pack_{init}.deep.net:make") == first
        (inner / "other.py").write_text("2")
        assert self.key(f"pack_{init}.deep.net:make") != first

    def test_a_module_that_is_not_there(self, here: Path) -> None:
        with pytest.raises(ModelError, match=r"^there is no module 'net_a2' for 'net_a2\.x:make' in"):
            ModelRequest("net_a2.x:make").key()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"weights": "no\nsuch.pth"},
            r"there is no weights file 'no\nsuch.pth'; --weights takes DEFAULT, none or a file",
        ),
        ({"weights": "default"}, "there is no weights file 'default'; --weights takes DEFAULT, none or a file"),
        ({"weights": "."}, "the weights file '.' is a folder; --weights takes DEFAULT, none or a file"),
        ({"weights": "empty"}, "the weights file 'empty' is empty; --weights takes DEFAULT, none or a file"),
        (
            {"preprocess": "p.json"},
            "there is no preprocessing file 'p.json'; --preprocess takes key=value pairs or a .json file",
        ),
        (
            {"class_names": Path("names")},
            "there is no class names file 'names'; --class-names takes a text or .json file",
        ),
        ({"name": "https://x.y/z"}, "'https://x.y/z' is neither a model's name nor package.module:factory"),
        ({"name": ":make"}, "':make' is neither a model's name nor package.module:factory"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, str], expected: str, here: Path) -> None:
    (here / "empty").touch()
    with pytest.raises(ModelError) as caught:
        ModelRequest(**options)
    assert str(caught.value) == expected
