"""Influence to first order: gradient × activation, in place of interventions.

The gradient of the target with respect to the source's channels, times these channels' distance from their mean
maps, is what the target would lose if it hung on them in a straight line.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from neurocarto.extraction.lineage import OUTPUT, Lineage, follow
from neurocarto.records import CLASS_OUTPUT
from neurocarto.summarisation.interventions import Drops
from neurocarto.summarisation.strengths import Strengths, Study, class_output


def estimate_drops(strengths: Strengths, lineage: Lineage, study: Study) -> Drops:
    """Estimate how much of every target is lost without each source, on each of a study's images.

    Time: one forward pass over the images, with a backward pass through one layer per target. Memory: see follow.
    """
    found = Drops()

    def targets(name: str, output: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The activation (B,) of each target in a layer, or of the class where the layer is the network's output."""
        if name != OUTPUT:
            for target, channels in study.groups.get(name, {}).items():
                yield target, strengths.cluster(output, name, channels)
        elif study.outputs:
            yield CLASS_OUTPUT, class_output(output, study.outputs)

    def visit(name: str, output: Tensor, before: Mapping[str, Tensor]) -> None:
        sources = {layer: activations for layer, activations in before.items() if study.groups.get(layer)}
        for target, strength in targets(name, output) if sources else ():
            gradients = torch.autograd.grad(strength.sum(), [*sources.values()], retain_graph=True)
            found.strengths[target].extend(strength.tolist())
            for (layer, activations), gradient in zip(sources.items(), gradients, strict=True):
                drop = (gradient * (activations.detach() - strengths.means[layer])).sum((2, 3))  # (B, C)
                for source, channels in study.groups[layer].items():
                    found.edges[source, target].extend(drop[:, torch.from_numpy(channels)].sum(1).tolist())

    for batch in strengths.pictures.batches(study.images) if study.groups else ():
        follow(strengths.model, [*strengths.layers.values()], lineage, batch, visit)
    return found
