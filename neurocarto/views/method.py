"""The method in words, with its limits and sources, as Markdown: for the app and for reports."""

from neurocarto.runs.manifest import Manifest

METHOD = """
### What you see, and how it was made

A vision network sees an image through thousands of **neurons** (here: the channels of its layers). NeuroCartography
shows which of them detect the same thing, which things occur together, and what a class relies on. No person grouped
anything; all of it is computed from the images of the run.

**Example patches.** In one pass over the images, the places where each neuron fires most strongly are kept, at most
one per image. A patch is the part of the image that the activation depends on most.

**Clusters.** Two neurons of a layer detect the same when they fire on the same images *and at the same places*.
Candidates are found with MinHash signatures and locality-sensitive hashing, then verified one by one; in a cluster,
every pair of neurons is similar. A neuron that resembles no other is in no cluster.

**Map.** Neurons that fire on the same images get similar vectors (an embedding of their co-activation); UMAP lays
these out on the plane. Near means: occurs together. Distances between far groups, and the directions on the map,
mean nothing.

**Importance.** How well a cluster's activation separates the images of a class from all others: the area under the
ROC curve, 0.5 for chance, 1 for perfect. A cluster is called important only when shuffled labels rarely do as well,
with the share of false finds held to the run's rate (the q-value).

**Cascade.** From a cluster, the influences that are certain (their interval leaves out 0) and make up a tenth or more
of all influence on their target. The way to a class is the one with the largest product of these shares.

**Comparing classes.** Two classes are similar when the same clusters are important for both: the cosine of their
importances above chance. **Errors**: the clusters that are more active on the images of a confusion than on the label's
others, with the same score and the same test by shuffling as importance.

**Badges.** A cluster is *solid* when, on images that did not form it, a judge network tells its neurons from others of
the layer certainly better than it does with random groups, and when they fire at the same places more than those do;
*tentative* when it tells them better, but not all of that is certain. The Quality page has the numbers, the Study page
the same test for people.

**Labels** name the image labels or predictions that are over-represented among a cluster's patches, with counts. Where
people have given a cluster a **name**, it stands before the label.
"""

LIMITS = """
### What it cannot tell

- A label says which images excite a cluster, not what in them does. Look at the patches.
- Important means: tells the class's images apart. Whether the network *uses* it is what its effect says.
- Everything is relative to the images of the run. What is not in them cannot be found; a neuron that never fired on
  them may detect something that they do not show.
- A neuron may respond to several unrelated things; its strongest patches show the loudest of them.
- The map flattens many dimensions to two. Neighbours may lie apart, and strangers close together.
"""

SOURCES = """
### Sources

- Park, Das, Duggal, Wright, Shaikh, Hohman, Chau: *NeuroCartography: Scalable Automatic Visual Summarization of
  Concepts in Deep Neural Networks*. IEEE VIS 2021 (IEEE TVCG 28(1), 2022).
- Broder: *On the resemblance and containment of documents* (MinHash). SEQUENCES 1997.
- McInnes, Healy, Melville: *UMAP: Uniform Manifold Approximation and Projection*. 2018.
- Benjamini, Hochberg: *Controlling the false discovery rate*. J. R. Stat. Soc. B 57(1), 1995.
"""


def influence(manifest: Manifest) -> str:
    """Return how this run's edges and effects were measured."""
    if "gradient" in str(manifest.influence.get("method", "")).lower():
        how = (
            "In this run it is estimated from gradients × activation over a sample of the images: a first-order "
            "stand-in for switching the source cluster off, not a measured intervention. Effects were not measured."
        )
    else:
        how = (
            "It is measured by switching the source cluster off on a sample of the class's images: its neurons are "
            "held at their mean maps, the network runs on, and what the target loses is its share. What the class's "
            "own output loses is the cluster's **effect**, beside that of random neurons of the same layer."
        )
        match manifest.influence.get("agreement"):
            case {"spearman": float(correlation), "edges": int(edges)}:
                how += (
                    f" Estimates from gradients rank {edges:,} of the edges alike (rank correlation {correlation:.2f})."
                )
    return (
        "**Influence.** How much a cluster's activation moves clusters of a layer that builds on it, or the "
        f"class's output. {how} Solid lines excite, dashed lines inhibit."
    )
