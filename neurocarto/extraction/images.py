"""Image sets: which images there are, under which paths and labels, and how to open them."""

import hashlib
import io
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from neurocarto.errors import ImagesError
from neurocarto.extraction.decoding import as_seen, decode, shown, unreadable
from neurocarto.extraction.sources import Files, find_files, first_folder, listed_files
from neurocarto.records import Skipped
from neurocarto.request import SUFFIXES

MIN_IMAGES = 10
PREVIEW_SIDE = 224
PREVIEW_QUALITY = 70
HASHING_THREADS = 4
HASHED_AT_ONCE = 256
"""Files whose digests are awaited together: a bound for what waits in memory."""


class Dataset(Protocol):
    """A map-style data set: items are images, or tuples that begin with an image and its label."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class ImageSet:
    """The images of a source, in the order of their paths.

    source: the folder, archive, pattern or URL as given, or the data set's root or class. paths: relative
    to the source, unique. labels: None where there is none. fingerprint: SHA-256 over all paths and
    contents, and over labels where the paths do not say them. skipped: what was left out already when
    the images were listed. load: opens the image of an index; it is called from several threads at once.
    """

    source: str
    paths: tuple[str, ...]
    labels: tuple[str | None, ...]
    fingerprint: str
    load: Callable[[int], Image.Image] = field(repr=False, compare=False)
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {path: i for i, path in enumerate(self.paths)}

    def indices(self, paths: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return where these paths stand in the set."""
        return np.array([self._index[path] for path in paths], np.int64)

    def open(self, index: int) -> Image.Image:
        """Open one image, upright and RGB; ImagesError with the reason when it cannot be read."""
        return self.load(index)

    def take(self, indices: Iterable[int]) -> "ImageSet":
        """Return the images of these indices as a set of their own; one of files knows nothing of the others."""
        chosen = [int(index) for index in indices]
        paths = tuple(self.paths[index] for index in chosen)
        labels = tuple(self.labels[index] for index in chosen)
        load = self.load
        taken = load.take(paths) if isinstance(load, _OfFiles) else partial(_load_chosen, load, chosen)
        return replace(self, paths=paths, labels=labels, load=taken, skipped=())


def _load_chosen(load: Callable[[int], Image.Image], chosen: Sequence[int], index: int) -> Image.Image:
    return load(chosen[index])


def list_images(source: str | Path | Dataset | ImageSet, fingerprint: str | None = None) -> ImageSet:
    """List the images of a source and fingerprint their contents, which reads every one of them once.

    source: a folder, .zip or .tar, a pattern of .tar shards, a URL of one of these that fsspec opens, or a
    map-style data set. fingerprint: a name to stand for the contents instead, which spares the reading;
    the same name must always mean the same images. docs/sources.md says what becomes a path and a label.
    ImagesError when the source cannot be listed or has fewer than ten images.
    """
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, str | Path):
        return _of_files(find_files(str(source)), fingerprint)
    _check_map_style(source)
    files = _files_of(source)
    return _of_items(_Items(source), fingerprint) if files is None else _of_files(files, fingerprint)


def open_image(path: Path) -> Image.Image:
    """Open an image file as a person sees it: upright, sRGB, transparency over white.

    ImagesError with the reason when it cannot be read.
    """
    return _open(path.read_bytes, path.name)


def _open(read: Callable[[], bytes], name: str) -> Image.Image:
    try:
        content = read()
    except Exception as error:  # remote file systems have exceptions of their own
        raise unreadable(name, error) from error
    return decode(content, name)


@dataclass(frozen=True)
class _OfFiles:
    """Opens the images of these paths."""

    files: Files
    paths: tuple[str, ...]

    def __call__(self, index: int) -> Image.Image:
        return _open(partial(self.files.read, self.paths[index]), self.paths[index])

    def take(self, paths: tuple[str, ...]) -> "_OfFiles":
        return _OfFiles(self.files.take(paths), paths)


def _of_files(files: Files, fingerprint: str | None) -> ImageSet:
    _check_count(files)
    paths = tuple(sorted(files.places))
    labels = tuple(files.labels[path] for path in paths)

    def digest(index: int) -> bytes:
        try:
            return hashlib.sha256(files.read(paths[index])).digest()
        except Exception as error:  # it is skipped when it is opened
            return type(error).__name__.encode()  # its text would name the place

    return ImageSet(
        source=files.source,
        paths=paths,
        labels=labels,
        fingerprint=_fingerprint(paths, labels, _digests(digest, len(paths))) if fingerprint is None else fingerprint,
        load=_OfFiles(files, paths),
        skipped=files.skipped,
    )


def _check_count(files: Files) -> None:
    if len(files.places) >= MIN_IMAGES:
        return
    line = (
        f"{shown(files.source)} holds {len(files.places)} image files ({', '.join(sorted(SUFFIXES))}); "
        f"at least {MIN_IMAGES} are needed"
    )
    if files.skipped:
        first = files.skipped[0]
        line += f"; {len(files.skipped)} were skipped, the first {shown(first.path)}: {first.reason}"
    if not files.places and files.other_suffixes:
        seen = Counter(sorted(files.other_suffixes)).most_common(8)
        line += "; found " + ", ".join(f"{n} × {shown(s) if s else 'no suffix'}" for s, n in seen)
    raise ImagesError(line)


def _digests(digest: Callable[[int], bytes], count: int) -> Iterator[bytes]:
    """Yield the digests in order, computed in a few threads."""
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        for start in range(0, count, HASHED_AT_ONCE):
            yield from pool.map(digest, range(start, min(start + HASHED_AT_ONCE, count)))


def _fingerprint(paths: Sequence[str], labels: Sequence[str | None], digests: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for path, label, digest in zip(paths, labels, digests, strict=True):
        total.update(path.encode() + b"\0" + digest)
        if label != first_folder(path):
            total.update(b"\0" + str(label).encode())
    return total.hexdigest()


def _check_map_style(source: object) -> None:
    kinds = type(source).__mro__
    if any(kind.__name__ == "IterableDataset" for kind in kinds):
        raise ImagesError(
            f"{kinds[0].__name__} is a data set that can only be read in order; give one with a length and items by "
            "index, or write its images to a folder"
        )
    if not all(hasattr(kinds[0], method) for method in ("__len__", "__getitem__")):
        raise ImagesError(
            f"images cannot be a {kinds[0].__name__}; give a folder, a .zip, a .tar, a URL, or a data set with a "
            "length and items by index"
        )


def _files_of(dataset: Any) -> Files | None:
    """Return the image files below its root that a data set is made of, if it says so."""
    samples = getattr(dataset, "samples", None) or getattr(dataset, "imgs", None)
    root = getattr(dataset, "root", None)
    if not isinstance(samples, list) or len(samples) != len(dataset) or not isinstance(root, str | Path):
        return None
    try:
        listed = {Path(file).relative_to(root).as_posix(): _label(dataset, label) for file, label in samples}
    except (TypeError, ValueError):
        return None
    return listed_files(str(root), listed) if all(Path(file).suffix.lower() in SUFFIXES for file in listed) else None


@dataclass(frozen=True)
class _Items:
    """The images of a data set. Items are taken one at a time: data sets are written for processes, not for threads."""

    dataset: Any
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self.dataset)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Items, (self.dataset,)  # no lock can be sent to another process

    def path(self, index: int) -> str:
        return f"{index:08}"

    def get(self, index: int) -> tuple[Image.Image, str | None]:
        """Return one image as a person sees it, and its label; ImagesError with the reason when there is none."""
        try:
            with self.lock:
                item = self.dataset[index]
                image, label = (*item, None)[:2] if isinstance(item, tuple | list) else (item, None)
                image = as_seen(_picture(image))
        except Exception as error:  # the data set's own code may raise anything
            raise unreadable(self.path(index), error) from error
        return image, _label(self.dataset, label)

    def load(self, index: int) -> Image.Image:
        return self.get(index)[0]


def _of_items(items: _Items, fingerprint: str | None) -> ImageSet:
    name, count = _name(items.dataset), len(items)
    if count < MIN_IMAGES:
        raise ImagesError(f"{name} holds {count} images; at least {MIN_IMAGES} are needed")
    paths = tuple(items.path(index) for index in range(count))
    targets = getattr(items.dataset, "targets", None)
    if fingerprint is not None and targets is not None and len(targets) == count:
        labels = tuple(_label(items.dataset, target) for target in targets)
        return ImageSet(name, paths, labels, fingerprint, items.load)
    read = [_label_and_digest(items, index) for index in range(count)]
    labels = tuple(label for label, _ in read)
    if fingerprint is None:
        fingerprint = _fingerprint(paths, labels, (digest for _, digest in read))
    return ImageSet(name, paths, labels, fingerprint, items.load)


def _label_and_digest(items: _Items, index: int) -> tuple[str | None, bytes]:
    try:
        image, label = items.get(index)
    except ImagesError as error:  # it is skipped when it is opened
        return None, str(error).encode()
    return label, hashlib.sha256(f"{image.width} x {image.height}\0".encode() + image.tobytes()).digest()


def _name(dataset: object) -> str:
    kind = type(dataset)
    return f"{kind.__module__}.{kind.__qualname__}"


def _picture(value: Any) -> Image.Image:
    """Make a picture of what a data set gives: a Pillow image, an array (H, W[, C]) or a tensor (C, H, W)."""
    if isinstance(value, Image.Image):
        return value
    is_tensor = hasattr(value, "numpy")
    pixels = value.numpy() if is_tensor else value
    if not isinstance(pixels, np.ndarray):
        raise TypeError(f"an item is a {type(value).__name__}; it must be an image, or a tuple that begins with one")
    if is_tensor and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.size == 0 or pixels.ndim not in {2, 3} or pixels.shape[2:] not in {(), (1,), (3,), (4,)}:
        raise ValueError(f"an array of shape {pixels.shape} is no image of 1, 3 or 4 channels")
    pixels = _bytes(pixels)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else np.ascontiguousarray(pixels))


def _bytes(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return pixels as 0 … 255: as they are, or from fractions of 1."""
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"pixels are {pixels.dtype}; they must be uint8, or fractions from 0 to 1")
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"pixels from {pixels.min():.3g} to {pixels.max():.3g}: it looks normalised; give the dataset without "
            "its transform"
        )
    scaled: npt.NDArray[np.uint8] = np.rint(pixels * 255).astype(np.uint8)
    return scaled


def _label(dataset: Any, label: Any) -> str | None:
    """Return a label as text: the class's name for an index, None for what is no single label."""
    if isinstance(label, str):
        return label
    if hasattr(label, "item") and getattr(label, "ndim", None) == 0:
        label = label.item()
    if not isinstance(label, int):
        return None
    classes = next((c for d in _nested(dataset) if isinstance(c := getattr(d, "classes", None), Sequence)), ())
    if not 0 <= label < len(classes):
        return str(label)
    name = classes[label]
    return str(name[0] if isinstance(name, tuple) and name else name)


def _nested(dataset: Any) -> Iterator[Any]:
    """Yield a data set and those that it is a part of."""
    for _ in itertools.repeat(None, 8):
        yield dataset
        dataset = getattr(dataset, "dataset", None)
        if dataset is None:
            return


def preview(image: Image.Image) -> bytes:
    """Return a small copy of the image as WebP: long side at most 224 pixels."""
    small = image.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "webp", quality=PREVIEW_QUALITY, method=4)
    return buffer.getvalue()
