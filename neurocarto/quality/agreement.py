"""Peak agreement: do the members of a cluster fire at the same place of the images that excite both?

Neurons that detect the same thing do; neurons whose things merely occur together do not. The intruder test alone does
not see the difference.
"""

import numpy as np

from neurocarto.quality.groups import Groups
from neurocarto.quality.measures import Draw
from neurocarto.records import FloatArray
from neurocarto.summarisation.similarity import Stimuli, peak_agreement


def agreement(stimuli: Stimuli) -> Draw:
    """Return how pairs of members are drawn and compared.

    stimuli: of the layer's neurons, on images that did not form the clusters. part: on how many of the images that
    both share they peak within one cell of a 7 × 7 grid; of: how many they share.
    """

    def draw(groups: Groups, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        pairs = groups.draw(2, count, rng)
        shared, agreeing = peak_agreement(stimuli, pairs.reshape(-1, 2))
        return agreeing.reshape(pairs.shape[:2]).astype(float), shared.reshape(pairs.shape[:2]).astype(float)

    return draw
