"""The app's longer words: the About page, and why a view is empty."""

from neurocarto.dashboard.selection import Selection
from neurocarto.runs.manifest import Manifest
from neurocarto.views.lookup import Lookup

METHOD = """
### What you see, and how it was made

A vision network sees an image through thousands of **neurons** (here: the channels of its layers). NeuroCartography
shows which of them detect the same thing, which things occur together, and what a class relies on. No person named
or grouped anything; all of it is computed from the images of the run.

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

**Labels** name the image labels or predictions that are over-represented among a cluster's patches, with counts.
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


def no_clusters(lookup: Lookup, selection: Selection) -> tuple[str, str]:
    """Return why the graph is empty and what to do."""
    where = " in the chosen layers" if selection.layers else ""
    if selection.least and lookup.importances(selection.class_):
        return f"No cluster{where} passes importance {selection.least:.2f}", "Lower it, or choose another class."
    if not selection.class_:
        return f"No influence between clusters was measured{where}", "Choose a class, or all layers."
    rate = float(lookup.run.manifest.settings.get("false_discovery_rate", 0.05))
    advice = "Choose all layers or another class." if selection.layers else "Choose another class, or All images."
    return f"No cluster is important for {selection.class_}{where} (false discovery rate {rate:.0%})", advice


def no_two_classes(lookup: Lookup, selection: Selection) -> tuple[str, str]:
    """Return why no two classes are compared and what to do."""
    if len(lookup.classes) < 2:
        return "This run has fewer than two classes", "Make a run of images in two folders or more to compare them."
    if not selection.class_:
        return "No class is chosen", "Choose one above, or click a cell of the matrix to compare its two classes."
    if selection.class_ == selection.other:
        return (
            f"{selection.class_} would be compared with itself",
            f"Choose another one above. Most like {selection.class_}:",
        )
    if not lookup.importances(selection.class_):
        return f"No cluster is important for {selection.class_}", "Choose another class above, or a cell of the matrix."
    return "No second class is chosen", f"Choose one above, or a cell of the matrix. Most like {selection.class_}:"


def nothing_to_compare(selection: Selection) -> tuple[str, str]:
    """Return why the graph of two classes is empty and what to do."""
    where = " in the chosen layers" if selection.layers else ""
    advice = "Choose all layers or other classes." if selection.layers else "Choose other classes."
    if selection.least > 0.5:
        return f"No cluster{where} passes importance {selection.least:.2f} for either class", f"Lower it. {advice}"
    return f"No cluster is important for {selection.class_} or {selection.other}{where}", advice


NO_CONFUSIONS = (
    "No confusion in this run",
    "The network says of every image what its label says, or the images have no labels: sort them into folders.",
)

UNSCORED = (
    "Nobody has scored this run yet, so its clusters have no badges. A judge, a network other than the one under "
    "study, tests them with this command; reload the page when it is done:"
)


def unreadable_scores(problem: str) -> str:
    """Return that there are scorecards but they cannot be shown, and what to do."""
    return f"This run's scorecards cannot be shown: {problem}. Remove the file and score the run again."


UNMEASURED = (
    "This run was made before runs measured themselves: make it again to see coverage, stability and how well "
    "embedding and map predict."
)

STUDY_HOW = "The same test that a judge network takes on the Quality page. A link to this page is enough to take part."
NO_QUESTIONS = (
    "No question can be asked about this run",
    "It has no cluster of 3 to 40 neurons that fired on enough images. Choose another run.",
)
STUDY_SEEN = (
    "People had it easier: this run does not keep the clusters of each half of its images, so the patches were among "
    "those that formed the clusters. Judges see images that did not."
)
STUDY_UNSCORED = "No judge has scored this run, so there is none to compare with; the Quality page says how."


def study_task(count: int, patches: int, held_out: bool) -> str:
    """Return what a participant is asked to do, as Markdown without any text from a run."""
    formed = (
        "The patches are from images that did not form the groups."
        if held_out
        else "The patches are among those that formed the groups, which makes it easier than the judges' test."
    )
    return (
        f"{count} questions. Each shows **four neurons**, one in a row, by {patches} image patches that excite it. "
        "Three of them the program has grouped together, since they seem to detect the same; **one is an intruder. "
        "Which one?** Click its row, or press **1**, **2**, **3** or **4**. If you see none, guess. A fifth of the "
        f"questions are random groups, to see what guessing gives. {formed}\n\n"
        "What is right is shown at the end. Nothing is kept of you but your answers, the time that each took and a "
        "random code. Answers count when all are given; reloading the page starts over. **Copy link** gives others the "
        "same questions."
    )


def study_kept(kept: bool, who: str) -> str:
    """Return where a participant's answers are."""
    if kept:
        return f"They are kept beside the run, under your code {who}. Thank you."
    return f"This server keeps no answers: download yours, and send them to whoever asked you. Your code is {who}."


OWN_HOW = (
    "See which clusters an image of yours excites, where, and which of them the network’s answer rests on. It takes "
    "some ten seconds. The image stays in this session’s memory; nothing of it is kept."
)
OWN_READ = (
    "What fires on it is lit in map and graph. A card has patches of your image beside the cluster’s own, and how the "
    "answer’s output changes when the cluster is held at its mean maps, beside ten random sets of as many neurons."
)
OWN_VIEW_ONLY = "This server only shows runs. Start the app on your own computer to look at your own image."
OWN_NO_TORCH = "Your own image needs torch, which this server lacks: pip install -r requirements.txt and start again."
OWN_FILE = (
    "This run’s weights came from a file, which the app does not look for: "
    "python -m neurocarto look RUN IMAGE --weights FILE"
)
OWN_STOPPED = "The look at your image was stopped."


def own_factory(name: str) -> str:
    """Return why an image cannot be looked at with a network that somebody's own code makes."""
    return (
        f"This run’s network is made by {name}, code that the app does not run: "
        f"python -m neurocarto look RUN IMAGE --model {name}"
    )


def own_looking(seconds: float) -> str:
    """Return that an image is being looked at."""
    return f"Looking at your image: {seconds:.0f} s. It takes some ten seconds; everything else can be used meanwhile."


def own_failed(reason: str) -> str:
    """Return that an image could not be looked at, and why."""
    why = reason.removeprefix("the image: ") or "the network stopped without saying why"
    return f"Your image could not be looked at: {why}."


def own_too_long(seconds: float) -> str:
    """Return that a look at an image took too long."""
    return (
        f"Looking at your image took more than {seconds:.0f} s and was stopped. Try again when less is going on here."
    )
