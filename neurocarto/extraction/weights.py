"""Weights: reading them from files, telling what they are, fitting them to a network."""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from neurocarto.errors import ModelError

State = dict[str, Tensor]
"""A network's weights by their paths in it."""

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "model_ema",
    "state_dict_ema",
    "ema",
)
"""Where checkpoints keep the weights, beside optimiser and epoch; the first that is there counts."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")
"""What wrappers put before every path: DataParallel, torch.compile, training frameworks."""

IGNORED = re.compile(r"(?:aux1|aux2|AuxLogits)\..*|(?:.*\.)?num_batches_tracked|n_averaged")
"""Paths that play no part in evaluation: auxiliary heads, counters."""

OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")

HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.\w+$")
"""torchvision names its files after the first digits of their SHA-256."""


def read_weights(path: Path) -> State:
    """Read weights from a .safetensors file or a checkpoint of torch; ModelError when it holds none.

    Pickled objects other than tensors and plain containers are refused: they could run code.
    """
    state = _unwrapped(_read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_checkpoint(path))
    if not state:
        raise ModelError(f"the weights file {str(path)!r} holds no weights: no tensors by name, and no state_dict")
    return state


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"the weights file {str(path)!r} is damaged, or not safetensors: {first_line(error)}"
        ) from error


def _read_checkpoint(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the reader fail in any way
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise ModelError(
                f"the weights file {str(path)!r} holds more than weights ({named[1]!r}): loading that could run code; "
                "save model.state_dict() alone, or .safetensors"
            ) from error
        raise ModelError(
            f"the weights file {str(path)!r} is damaged, or no checkpoint of torch (other pickles "
            "are not loaded: they could run code)"
        ) from error


def _unwrapped(loaded: object) -> State:
    """The tensors by name, from inside what training wraps around them."""
    if not isinstance(loaded, Mapping):
        return {}
    tensors = {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, Tensor)}
    inner = next((loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), Mapping)), None)
    return tensors if inner is None else _unwrapped(inner)


def fitted(state: State, network: Mapping[str, Tensor]) -> State:
    """Return the weights under the network's own paths, as far as renaming and leaving out prefixes gets them.

    network: the weights that it has. A prefix that only some paths have, such as backbone., is dropped along with
    the others only if everything then fits.
    """
    return min(_candidates(_renamed(state), network), key=lambda each: len(_strangers(each, network)))


def _renamed(state: State) -> State:
    """Drop what plays no part, and give the layers of old DenseNets their present names."""
    old = {name: OLD_DENSENET.sub(r"\1\2", name) for name in state}
    return {old[name]: value for name, value in state.items()}


def _candidates(state: State, network: Mapping[str, Tensor], depth: int = 3) -> Iterator[State]:
    yield state
    if not depth:
        return
    for prefix in PREFIXES:
        inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        all_have_it = all(name.startswith(prefix) or IGNORED.fullmatch(name) for name in state)
        for candidate in _candidates(inner, network, depth - 1) if inner else ():
            if all_have_it or not _strangers(candidate, network):
                yield candidate


def _strangers(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> list[str]:
    """Paths that only one of the two has."""
    return [name for name in state.keys() ^ network.keys() if not IGNORED.fullmatch(name)]


def load_weights(module: nn.Module, state: State, path: Path, name: str) -> None:
    """Put fitted weights into a network; ModelError that counts and names what does not match."""
    network = module.state_dict()
    counted = {key: value for key, value in state.items() if not IGNORED.fullmatch(key)}
    missing = [key for key in network if key not in counted and not IGNORED.fullmatch(key)]
    unexpected = [key for key in counted if key not in network]
    shapes = [
        f"{key} {tuple(value.shape)} instead of {tuple(network[key].shape)}"
        for key, value in counted.items()
        if key in network and value.shape != network[key].shape
    ]
    problems = [*_named("missing", missing), *_named("unexpected", unexpected), *_named("of another shape", shapes)]
    if problems:
        raise ModelError(
            f"the weights file {str(path)!r} does not fit {name!r} ({len(network)} keys): {'; '.join(problems)}"
        )
    try:
        module.load_state_dict({key: value for key, value in state.items() if key in network}, strict=False)
    except RuntimeError as error:
        raise ModelError(f"the weights file {str(path)!r} does not fit {name!r}: {first_line(error)}") from error


def _named(problem: str, keys: Sequence[str]) -> Iterator[str]:
    if keys:
        yield f"{len(keys)} {problem} ({', '.join(map(_printable, keys[:3]))}{', …' if len(keys) > 3 else ''})"


def _printable(key: str) -> str:
    """A key as it is, or escaped where it would break the line."""
    return key if key.isprintable() else repr(key)


def official(name: str, sha256: str) -> Any | None:
    """Return torchvision's entry for the weights of that name in a file with this hash, or None."""
    from torchvision.models import get_model_weights

    return next((entry for entry in get_model_weights(name) if sha256.startswith(_hash_in(entry.url))), None)


def downloaded(entry: Any) -> Path:
    """Return the file of a torchvision entry, downloaded unless torch has it already; ModelError when that fails."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(entry.url).path).name
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(entry.url, str(path), _hash_in(entry.url), progress=sys.stderr.isatty())
        except (OSError, RuntimeError, HTTPException) as error:  # no network; contents that are not what the name says
            raise ModelError(
                f"cannot download {entry.url} ({first_line(error)}); fetch it elsewhere and pass it with "
                f"--weights FILE, or put it at {str(path)!r}"
            ) from error
    return path


def _hash_in(url: str) -> str:
    found = HASH_IN_NAME.search(url)
    return found[1] if found else url  # no hash begins like a URL


def state_sha256(module: nn.Module) -> str:
    """Return the SHA-256 over a network's weights: names in order, kinds, shapes, bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's own text, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
