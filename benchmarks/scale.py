"""The rates that docs/scale.md reckons with: one thread, CPU seconds, so that what else runs here hardly matters.

    python -m benchmarks.scale [IMAGES] [--model googlenet] [--weights none]

Prints JSON. Decoding and passes are measured on photographs; what a shard weighs and costs to merge on made-up
activations of as many neurons, whose images have 1,000 labels. Takes the folder from NEUROCARTO_SAMPLE_IMAGES when none
is given.
"""

import argparse
import json
import os
import pickle
import time
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise
from tempfile import TemporaryDirectory

import numpy as np
import torch

from neurocarto.engine.heap import keep_freed_memory
from neurocarto.engine.local import Pass, Shard
from neurocarto.extraction.activity import Activity, Batch, Prediction
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.inference import for_inference
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import load_model
from neurocarto.extraction.sources import Files
from neurocarto.extraction.stores import Disk, Place
from neurocarto.records import Layer
from neurocarto.request import ModelRequest
from neurocarto.runs.parts import Chunks
from neurocarto.runs.shared import SharedFolder
from neurocarto.settings import RunSettings

PASSED = 128
CLASSES = 1000
SHARD_SIZES = (256, 4096)
LISTED = 100_000


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time that all threads of this process spend."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def of_images(images: ImageSet, request: ModelRequest, settings: RunSettings) -> dict[str, float]:
    """Measure one image: its bytes and its hash, decoding, the bare pass and the whole of a shard (ms)."""
    model = load_model(request)
    layers = describe_layers(model)
    some = images.take(np.random.default_rng(0).permutation(len(images))[:PASSED])
    pictures = [some.open(index) for index in range(PASSED)]
    inputs = model.inputs(pictures).contiguous(memory_format=torch.channels_last)
    enlarged = TemporaryDirectory()
    for index, picture in enumerate(pictures):
        picture.resize((500, 375)).save(f"{enlarged.name}/{index:04}.jpg", quality=95)
    large = list_images(enlarged.name)
    shard, work = Shard(0, some, frozenset()), Pass(for_inference(model, layers), layers, settings)

    def decode() -> None:
        for index in range(PASSED):
            model.preprocessing.pixels(some.open(index))

    def decode_large() -> None:
        for index in range(PASSED):
            model.preprocessing.pixels(large.open(index))

    def bare() -> None:
        with torch.inference_mode():
            for batch in torch.split(inputs, settings.batch_size):
                model.logits(batch)

    ways = {
        "decode": decode,
        "decode 500 x 375": decode_large,
        "bare pass": bare,
        "shard": lambda: work.run(shard, lambda _: None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(4):
        for name, way in ways.items():
            spent = cpu_seconds(way)
            seconds[name] += [spent] * (turn > 0)
    per_image = {f"{name}, ms": float(np.median(s)) / PASSED * 1000 for name, s in seconds.items()}
    per_image["500 x 375, kB"] = sum(os.path.getsize(f"{enlarged.name}/{path}") for path in large.paths) / PASSED / 1000
    enlarged.cleanup()
    neurons = sum(layer.channels for layer in layers)
    return {"neurons": neurons, "layers": len(layers), "model pickled, MB": len(pickle.dumps(model)) / 1e6, **per_image}


def made_up(layer: Layer, start: int, count: int, settings: RunSettings, sampled: frozenset[int]) -> Activity:
    """Return what a shard of `count` images would hold; labels and predictions are drawn from 1,000."""
    drawn = torch.Generator().manual_seed(start)
    names = tuple(f"class {index}" for index in range(CLASSES))
    made = Activity((layer,), settings.top_k)
    for begin in range(start, start + count, 64):
        size = min(64, start + count - begin)
        peaks = torch.rand(size, layer.channels, generator=drawn)
        cells = torch.randint(49, (size, layer.channels), generator=drawn, dtype=torch.int32)
        logits = torch.rand(size, CLASSES, generator=drawn)
        labels = [names[index] for index in torch.randint(CLASSES, (size,), generator=drawn)]
        batch = Batch(torch.arange(begin, begin + size), peaks, cells, logits)
        made.update(batch, [(500, 375)] * size, labels, names, sampled)
    return made


def of_shards(neurons: int, settings: RunSettings) -> dict[str, float]:
    """Measure a shard: bytes, merging in the driver, writing and reading it, and the driver's checkpoint."""
    layer = Layer("made up", neurons, 7, 7)
    found: dict[str, float] = {}
    total = made_up(layer, 0, 4096, settings, frozenset(range(2000)))
    for size in SHARD_SIZES:
        merging: list[float] = []
        for start, stop in pairwise(range(10_000, 10_000 + 4 * size, size)):
            parts = made_up(layer, start, stop - start, settings, frozenset()).parts()
            sent = pickle.dumps(parts, protocol=5)

            def merge(sent: bytes = sent) -> None:
                total.merge(Activity.from_parts((layer,), pickle.loads(sent)))

            merging.append(cpu_seconds(merge))
        found[f"shard of {size}, MB"] = len(sent) / 1e6
        found[f"merge a shard of {size}, s"] = float(np.median(merging))
        with TemporaryDirectory() as folder:
            shared = SharedFolder.at(folder)
            found[f"write a shard of {size}, s"] = cpu_seconds(lambda shared=shared, p=parts: shared.put("x", p))  # type: ignore[misc]
            found[f"read a shard of {size}, s"] = cpu_seconds(lambda shared=shared: shared.get("x"))  # type: ignore[misc]
    found["checkpoint without images, MB"] = Chunks({**total.parts(), "predictions": []}).size / 1e6
    return found


def of_lists() -> dict[str, float]:
    """Measure what the driver keeps of each image, in bytes: its listing, its prediction, and that in a checkpoint."""
    names = [f"n{index % CLASSES:08}/ILSVRC2012_val_{index:08}.JPEG" for index in range(LISTED)]
    tracemalloc.start()
    places = {f"{name}": Place(f"/data/imagenet/train/{name}", 110_000) for name in names}
    labels = {name: name.partition("/")[0] for name in names}
    before, _ = tracemalloc.get_traced_memory()
    predictions = {index: Prediction(index % CLASSES, index / LISTED, 500, 375) for index in range(LISTED)}
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    entries = [[index, p.output, p.confidence, p.width, p.height] for index, p in predictions.items()]
    shard = pickle.dumps(Files("/data/imagenet/train", Disk(), places, labels).take(names[:256]))
    return {
        "listing, bytes an image": before / LISTED,
        "prediction, bytes an image": (after - before) / LISTED,
        "prediction in a checkpoint, bytes an image": Chunks({"predictions": entries}).size / LISTED,
        "task, bytes an image": len(shard) / 256,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", default=os.environ.get("NEUROCARTO_SAMPLE_IMAGES"))
    parser.add_argument("--model", default="googlenet")
    parser.add_argument("--weights", default="none")
    options = parser.parse_args(arguments)
    if options.images is None:
        parser.error("name a folder of photographs, or set NEUROCARTO_SAMPLE_IMAGES")
    torch.set_num_threads(1)
    keep_freed_memory()
    settings = RunSettings(threads=1)
    begin = time.process_time()
    images = list_images(options.images)
    listing = (time.process_time() - begin) / len(images) * 1000
    found = {"list and hash, ms": listing, **of_images(images, ModelRequest(options.model, options.weights), settings)}
    with torch.inference_mode():
        found |= of_shards(10_000, settings)
    print(json.dumps({name: round(value, 3) for name, value in (found | of_lists()).items()}, indent=1))


if __name__ == "__main__":
    main()
