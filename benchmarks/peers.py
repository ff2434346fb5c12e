"""Other people's programs at the same work, where they are installed: pip install semanticlens zennit-crp gensim.

    python -m benchmarks.peers [IMAGES] [--rounds 2]

In this process, taking turns: extraction beside SemanticLens' and zennit-crp's search for the strongest images, on the
same network, layers and images; the embedding beside gensim's skip-gram on the same stimuli. Prints Markdown and puts
it into docs/performance.md. None of them is a requirement; one that is not installed is left out.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.measuring import options_of_images, spread, write_section
from neurocarto.engine.heap import keep_freed_memory
from neurocarto.engine.local import extract
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.quality.embedding import Embed, lift
from neurocarto.settings import RunSettings
from neurocarto.summarisation.embedding import embed
from neurocarto.summarisation.similarity import Stimuli, find_stimuli

Way = Callable[[], object]
Vectors = npt.NDArray[np.float32]
EPOCHS = 1, 5, 20
"""Epochs of gensim's skip-gram."""
SPLITS = 3
"""Splits of the images by which embeddings are judged."""


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images as a network takes them, decoded when asked for, as such programs expect them."""

    def __init__(self, model: Model, images: ImageSet) -> None:
        self._model, self._images = model, images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._model.inputs([self._images.open(index)])[0], 0


def semantic_lens(model: Model, images: ImageSet, settings: RunSettings) -> Way | None:
    """SemanticLens' search for the images with the greatest activation of each neuron."""
    try:
        from semanticlens.component_visualization import ActivationComponentVisualizer
        from semanticlens.component_visualization.aggregators import aggregate_conv_max
    except ImportError:
        return None
    pictures, names = Pictures(model, images), [layer.name for layer in describe_layers(model)]

    def run() -> None:
        lens: Any = ActivationComponentVisualizer(
            model.module, pictures, pictures, names, settings.top_k, aggregate_fn=aggregate_conv_max
        )
        lens.run(batch_size=settings.batch_size)

    return run


def concept_relevance(model: Model, images: ImageSet, settings: RunSettings) -> Way | None:
    """zennit-crp's search for the images with the greatest activation and relevance of each neuron."""
    try:
        from crp.attribution import CondAttribution
        from crp.concepts import ChannelConcept
        from crp.visualization import FeatureVisualization
        from zennit.composites import EpsilonPlusFlat
    except ImportError:
        return None
    concepts = {layer.name: ChannelConcept() for layer in describe_layers(model)}

    def run() -> None:
        with TemporaryDirectory() as folder:
            pictures = Pictures(model, images)
            search: Any = FeatureVisualization(CondAttribution(model.module), pictures, concepts, path=folder)
            search.run(EpsilonPlusFlat(), 0, len(images), settings.batch_size, checkpoint=len(images))

    return run


def skip_gram(dimensions: int, epochs: int) -> Embed | None:
    """Skip-gram as gensim learns it, with the neurons that an image excites as a sentence."""
    try:
        from gensim.models import Word2Vec
    except ImportError:
        return None

    def learn(stimuli: Stimuli, count: int) -> Vectors:
        excited: list[list[str]] = [[] for _ in range(count)]
        for neuron, image in zip(*np.nonzero(stimuli.images >= 0), strict=True):
            excited[stimuli.images[neuron, image]].append(str(neuron))
        rng = np.random.default_rng(0)
        sentences = [rng.permutation(neurons).tolist() for neurons in excited]
        words = Word2Vec(sentences, vector_size=dimensions, sg=1, min_count=1, epochs=epochs, workers=2).wv
        vectors = np.zeros((len(stimuli), dimensions), np.float32)
        vectors[[int(word) for word in words.index_to_key]] = words.vectors
        return vectors

    return learn


def measure(ways: dict[str, Way | None], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every way that there is, in every round."""
    seconds: dict[str, list[float]] = {name: [] for name, way in ways.items() if way}
    for _ in range(rounds):
        for name in seconds:
            begin = time.perf_counter()
            ways[name]()  # type: ignore[misc]
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def table(seconds: dict[str, list[float]], further: Mapping[str, Mapping[str, str]] = MappingProxyType({})) -> str:
    """Return seconds of every way as a Markdown table, beside those of the first one in the same round.

    further: columns that stand behind, by their heads; what they say of every way.
    """
    first = next(iter(seconds))
    heads = ["", "seconds", f"× {first}", *further]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, taken in seconds.items():
        ratios = [own / unit for own, unit in zip(taken, seconds[first], strict=True)]
        cells = spread(taken, ".2f"), spread(ratios, ".2f"), *(column[name] for column in further.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the report."""
    parser = options_of_images(__doc__)
    parser.add_argument("--count", type=int, default=300, metavar="N", help="images that all run on (default: 300)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each way (default: %(default)s)")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    keep_freed_memory()
    settings, model, found = RunSettings(), load_model("efficientnet_lite0"), list_images(options.images)
    images = found.take(np.random.default_rng(0).permutation(len(found))[: options.count])
    layers = describe_layers(model)
    torch.set_num_threads(settings.threads)
    extracted = extract(model, layers, images, settings, lambda _: None)
    stimuli = find_stimuli(extracted.whole, len(images), settings.stimuli_share)
    embed(stimuli, len(images), settings.dimensions, 0)  # compiles
    extraction = measure(
        {
            "extraction": lambda: extract(model, layers, images, settings, lambda _: None),
            "SemanticLens": semantic_lens(model, images, settings),
            "zennit-crp": concept_relevance(model, images, settings),
        },
        options.rounds,
    )
    ways: dict[str, Embed | None] = {"embedding": partial(embed, dimensions=settings.dimensions, seed=0)}
    ways |= {f"gensim, {_epochs(n)}": skip_gram(settings.dimensions, n) for n in EPOCHS}
    embedding = measure(
        {name: partial(way, stimuli, len(images)) if way else None for name, way in ways.items()}, options.rounds
    )
    profile = extracted.profile.astype(np.float32) - extracted.rest
    lifts = {name: lift(profile, way, SPLITS, 0, settings.stimuli_share) for name, way in ways.items() if way}
    shown = {name: "{:.2f} ({:.2f} to {:.2f})".format(*found) for name, found in lifts.items()}
    text = (
        f"{len(images)} images, efficientnet_lite0, {len(stimuli):,} neurons in {len(layers)} layers, batches of "
        f"{settings.batch_size}, {settings.threads} threads; measured on {datetime.now(UTC):%Y-%m-%d} "
        f"({platform.machine()}, {_versions()}), the machine's load was {load:.1f} before. Median of {options.rounds} "
        f"turns, lowest to highest behind.\n\n{table(extraction)}\n\n{table(embedding, {'lift@10': shown})}\n\n"
        "SemanticLens keeps the strongest images of each neuron, without places or halves; zennit-crp keeps activation "
        "and relevance, for which it runs backward. Both decode one image after the other. gensim's skip-gram takes "
        "the neurons that one image excites as a sentence; its own choice is five epochs. Lift@10: how many more "
        f"unseen images a neuron shares with its ten nearest than with any neuron, on {SPLITS} splits of these images, "
        "with the 95 % interval; 1 is chance. `python -m benchmarks.peers` measures this anew."
    )
    print(text)
    write_section("Other programs", text)


def _epochs(count: int) -> str:
    return "one epoch" if count == 1 else f"{count} epochs"


def _versions() -> str:
    found = []
    for name in ("torch", "semanticlens", "zennit-crp", "gensim"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


if __name__ == "__main__":
    main()
