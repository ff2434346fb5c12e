"""The clusters of one layer as they are judged: by what is drawn from them, beside random groups of the same sizes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neurocarto.quality.questions import SIZES
from neurocarto.records import IntArray


@dataclass(frozen=True)
class Groups:
    """The clusters of a layer that can be judged, with the members that can be seen.

    cluster (C,): their numbers, rising; size (C,): members that are seen; start (C,): where a cluster begins in
    members (M,); seen (S,): every neuron of the layer that is seen; of (n,): every neuron's cluster.
    """

    cluster: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    members: npt.NDArray[np.int64]
    seen: npt.NDArray[np.int64]
    of: IntArray

    def __len__(self) -> int:
        return len(self.cluster)

    def draw(self, several: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw so many different members of every cluster, `count` times: (C, count, several)."""
        drawn = np.empty((len(self), count, several), np.int64)
        for i in range(several):
            place = (rng.random((len(self), count)) * (self.size[:, None] - i)).astype(np.int64)
            for taken in np.moveaxis(np.sort(drawn[..., :i], axis=2), 2, 0):  # pass over those drawn already
                place += place >= taken
            drawn[..., i] = place
        places: npt.NDArray[np.int64] = self.members[self.start[:, None, None] + drawn]
        return places

    def draw_outside(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw neurons outside every cluster that are seen, (C, count)."""
        drawn = rng.choice(self.seen, (len(self), count))
        while (inside := self.of[drawn] == self.cluster[:, None]).any():
            drawn[inside] = rng.choice(self.seen, int(inside.sum()))
        return drawn

    def shuffled(self, rng: np.random.Generator) -> "Groups":
        """Deal the seen neurons out anew: random groups of the same sizes, under the same numbers."""
        of = np.full(len(self.of), -1, np.int64)
        of[self.seen] = rng.permutation(self.of[self.seen])
        return find_groups(of, self.seen)


def find_groups(of: IntArray, seen: IntArray) -> Groups:
    """Return the clusters of 3 to 40 of one layer.

    of (n,): each neuron's cluster, -1 for none; seen: the neurons that can be judged, rising. Members that cannot be
    seen do not count, and a cluster of all neurons that are seen has nothing to be told from.
    """
    neurons = seen[of[seen] >= 0]
    members = neurons[np.argsort(of[neurons], kind="stable")].astype(np.int64)
    number, start, size = np.unique(of[members], return_index=True, return_counts=True)
    keep = np.isin(size, SIZES) & (size < len(seen))
    return Groups(number[keep].astype(np.int64), size[keep], start[keep], members, np.asarray(seen, np.int64), of)
