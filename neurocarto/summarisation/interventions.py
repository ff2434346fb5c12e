"""What is lost when neurons are switched off: replaced by their mean maps, while the network runs on.

One such intervention on a cluster shows what all clusters of the layers that build on it lose, and what the class's
own output loses: influence and effect.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from neurocarto.extraction.lineage import OUTPUT, Lineage
from neurocarto.extraction.replay import Replay
from neurocarto.records import CLASS_OUTPUT
from neurocarto.summarisation.strengths import Strengths, Study, class_output

RANDOM_SETS = 10
"""At least so many random sets of neurons stand beside each cluster."""

Sets = Mapping[str, Sequence[npt.NDArray[np.int64]]]
"""For each layer, the channels to be switched off: an array for each image of a batch."""


@dataclass(frozen=True)
class Drops:
    """Per image of a study: activations, and what is lost of them.

    strengths: each target's activation (CLASS_OUTPUT: the class's own output); edges: what a target loses without a
    source; effects: what the class's own output loses without a cluster; random: what it loses in the mean without
    random sets of as many neurons of the same layer, each image with sets of its own.
    """

    strengths: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    edges: defaultdict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    effects: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    random: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))


class Interventions:
    """Switches groups of neurons off and watches what others, and a class's own output, lose."""

    def __init__(self, strengths: Strengths, lineage: Lineage) -> None:
        self._strengths, self._lineage = strengths, lineage

    def drops(self, study: Study, rng: np.random.Generator) -> Drops:
        """Switch off each of a study's groups by itself, on each of its images. rng: draws the random sets.

        Time: for each group and each random set beside it, the network from its layer on: to its output where the
        study has one, else to the last layer that builds directly on it. Memory: see Replay.
        """
        found = Drops()
        for batch in self._strengths.pictures.batches(study.images) if study.groups else ():
            run = _Run(self._strengths, study, batch)
            before = self._before(study, run, found)
            for layer in self._ordered(study):
                targets = [name for name in self._children(layer) if study.groups.get(name)]
                if study.outputs:
                    targets.append(OUTPUT)
                if not targets:
                    continue
                run.advance(layer)
                for source, channels in study.groups[layer].items():
                    drops = self._lost(run, before, layer, channels, targets)
                    direct = OUTPUT in self._children(layer)
                    for target, drop in drops.items():
                        if target != CLASS_OUTPUT or direct:
                            found.edges[source, target].extend(drop)
                    if study.outputs:
                        found.effects[source].extend(drops[CLASS_OUTPUT])
                if study.outputs:
                    self._beside(study, layer, run, before[CLASS_OUTPUT], rng, found)
        return found

    def cost(self, study: Study) -> float:
        """Return how many runs of an image through the whole network `drops` is about as much work as."""
        order = [*self._lineage.parents]
        done = dict(zip(order, accumulate(self._lineage.work[name] for name in order), strict=True))
        runs = 1.0
        for layer in self._ordered(study):
            targets = [OUTPUT] if study.outputs else [name for name in self._children(layer) if study.groups.get(name)]
            sources = study.groups[layer].values()
            beside = len({len(channels) for channels in sources}) * ceil(RANDOM_SETS / len(study.images))
            if targets:
                behind = (done[targets[-1]] - done[layer]) / max(1, done[order[-1]])
                runs += behind * (len(sources) + (beside if study.outputs else 0))
        return runs * len(study.images)

    def edge_drops(self, study: Study, edges: Collection[tuple[int, int]]) -> Drops:
        """Switch off the sources of some edges and watch what their targets lose, and nothing else."""
        found = Drops()
        targets = pd.DataFrame(edges, columns=["source", "target"]).groupby("source")["target"].agg(set).to_dict()
        layer_of = {number: layer for layer, groups in study.groups.items() for number in groups} | {
            CLASS_OUTPUT: OUTPUT
        }
        order = [*self._lineage.parents]
        for batch in self._strengths.pictures.batches(study.images):
            run = _Run(self._strengths, study, batch)
            before = self._before(study, run, found)
            for layer in self._ordered(study):
                sources = [source for source in study.groups[layer] if source in targets]
                if sources:
                    run.advance(layer)
                for source in sources:
                    watched = sorted({layer_of[target] for target in targets[source]}, key=order.index)
                    drops = self._lost(run, before, layer, study.groups[layer][source], watched)
                    for target in targets[source]:
                        found.edges[source, target].extend(drops[target])
        return found

    def output_drop(
        self, study: Study, sets: Sequence[Mapping[str, npt.NDArray[np.int64]]]
    ) -> tuple[list[float], list[float]]:
        """Switch off sets of neurons of several layers at once; sets: for each image and layer, the channels.

        Returns the class's own output and what is lost of it, for each of a study's images.
        """
        strengths: list[float] = []
        drops: list[float] = []
        layers = [name for name in self._lineage.parents if name in sets[0]]
        for i, batch in enumerate(self._strengths.pictures.batches(study.images)):
            own = sets[i * self._strengths.pictures.batch_size :][: len(batch)]
            run = _Run(self._strengths, study, batch)
            before = run.strengths([OUTPUT])[CLASS_OUTPUT]
            run.advance(layers[0])
            after = run.strengths([OUTPUT], {layer: [each[layer] for each in own] for layer in layers})[CLASS_OUTPUT]
            strengths.extend(before.tolist())
            drops.extend((before - after).tolist())
        return strengths, drops

    def _children(self, layer: str) -> list[str]:
        return [name for name, parents in self._lineage.parents.items() if layer in parents]

    def _ordered(self, study: Study) -> list[str]:
        """The layers with groups, in the order in which they run."""
        return [name for name in self._lineage.parents if study.groups.get(name)]

    def _before(self, study: Study, run: "_Run", found: Drops) -> dict[int, Tensor]:
        """The activation (B,) of all groups, and of the class, with nothing switched off."""
        before = run.strengths(self._ordered(study) + ([OUTPUT] if study.outputs else []))
        for target, strength in before.items():
            found.strengths[target].extend(strength.tolist())
        return before

    def _lost(
        self,
        run: "_Run",
        before: Mapping[int, Tensor],
        layer: str,
        channels: npt.NDArray[np.int64],
        targets: Sequence[str],
    ) -> dict[int, list[float]]:
        """What each group of the target layers, and the class, loses on each image of a batch without some channels."""
        after = run.strengths(targets, {layer: [channels] * run.count})
        return {target: (before[target] - strength).tolist() for target, strength in after.items()}

    def _beside(
        self, study: Study, layer: str, run: "_Run", before: Tensor, rng: np.random.Generator, found: Drops
    ) -> None:
        """Switch off random sets of neurons of a layer, as large as its groups; groups of one size share them."""
        sources = study.groups[layer]
        rounds = ceil(RANDOM_SETS / len(study.images))
        for size in sorted({len(channels) for channels in sources.values()}):
            after = [
                run.strengths([OUTPUT], {layer: [self._strengths.random_set(layer, size, rng) for _ in before]})
                for _ in range(rounds)
            ]
            drop = before - torch.stack([strengths[CLASS_OUTPUT] for strengths in after]).mean(0)
            for source, channels in sources.items():
                if len(channels) == size:
                    found.random[source].extend(drop.tolist())


class _Run:
    """The network on one batch, with neurons switched off."""

    def __init__(self, strengths: Strengths, study: Study, batch: Tensor) -> None:
        self._strengths, self._study, self.count = strengths, study, len(batch)
        self._replay = Replay(strengths.model, batch)
        self.advance = self._replay.advance

    def strengths(self, targets: Sequence[str], off: Sets | None = None) -> dict[int, Tensor]:
        """Return the activation (B,) of all groups in the target layers, of the class for OUTPUT, without some sets.

        targets: in the order in which they run.
        """
        off = off or {}
        found: dict[int, Tensor] = {}

        def visit(name: str, maps: Tensor) -> Tensor | None:
            replaced = self._without(name, maps, off[name]) if name in off else None
            if name in targets:
                for target, channels in self._study.groups[name].items():
                    found[target] = self._strengths.cluster(maps, name, channels)
            return replaced

        layers = [layer for name, layer in self._strengths.layers.items() if name in off or name in targets]
        logits = self._replay.run(layers, visit, targets[-1])
        if logits is not None:
            found[CLASS_OUTPUT] = class_output(logits, self._study.outputs)
        return found

    def _without(self, layer: str, maps: Tensor, sets: Sequence[npt.NDArray[np.int64]]) -> Tensor:
        off = torch.zeros(self.count, maps.shape[1], dtype=torch.bool)
        for image, channels in enumerate(sets):
            off[image, torch.from_numpy(channels)] = True
        return torch.where(off.to(maps.device)[:, :, None, None], self._strengths.means[layer], maps)
