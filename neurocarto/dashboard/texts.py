"""The app's longer words: why a view is empty and what to do. Those on the method are in views/method.py."""

from neurocarto.dashboard.selection import Selection
from neurocarto.views.lookup import Lookup


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


EXPORT_HELP = "Take it away: a report, tables, the graph, figures, a citation"
EXPORT_REPORT, EXPORT_REPORT_HOW = "Report", "as one file that opens offline and prints on A4"
EXPORT_PIXELS = "With image patches"
EXPORT_TABLES, EXPORT_TABLES_HOW = "Data", "of what is chosen"
EXPORT_TABLE = {
    "clusters": "Clusters selected, or in the graph",
    "neurons": "Neurons selected",
    "importance": "Importance for the class",
}
EXPORT_GRAPH = "Cluster graph"
