"""The app's longer words: why a view is empty and what to do. Those on the method are in views/method.py."""

from pathlib import Path

from neurocarto.dashboard.selection import Selection
from neurocarto.runs.jobs import Status
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

NAMES_HOW = (
    "People's names and notes for clusters: select a cluster and click Name on its card. A name shows wherever the "
    "cluster does, beside the computed label."
)
NAMES_UNKEPT = "This server keeps none: they live in your session until you download them."


def names_damaged(problem: str) -> str:
    """Return that the names beside a run cannot be shown, and why."""
    return f"The names that people gave cannot be shown: {problem}."


def names_of_session(problem: str) -> str:
    """Return that a session's names are nowhere else, and why. problem: "" where the server keeps none at all."""
    why = problem or "this server keeps nothing"
    return f"Your names live in this session alone ({why}): download them under Names to keep them."


def names_loaded(known: int, unknown: int) -> str:
    """Return what came of a file of names. unknown: how many were of clusters that the run does not have."""
    rest = f" Left out, since this run has no such cluster: {unknown:,}." if unknown else ""
    return f"The file's names of {known:,} cluster{'s' * (known != 1)} are merged: of two, the later stays.{rest}"


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


LIBRARY_HOW = (
    "All runs that this app can open. Export makes one file of a run, which any other NeuroCartography imports."
)
IMPORT_HOW = "A .zip that was exported from another NeuroCartography. It is checked before it is opened."
RENAME_HOW = "A run's name is its folder's name, and part of every link to it."
NEW_RUN_HOW = "From images and a network to a run. The network looks at your images on this server and nowhere else."
IMAGES_HOW = "One folder for each class, or all in one. A folder has to lie within those that NEUROCARTO_IMAGES names."
NETWORK_HOW = (
    "efficientnet_lite0 to 2 come with their weights. Others are torchvision's: their weights are downloaded once, or "
    "come from a file. Any name of torchvision's can be typed."
)
WEIGHTS_HOW = (
    "From a file: a state dict (.pth, .pt) or .safetensors for this architecture; code in it is not run. Random: what "
    "a network looks like that has learnt nothing."
)
SEED_HOW = "The same seed gives the same run."
INFLUENCE_HOW = "More make influence and effects more certain, and take longer in proportion."

STAGES = {
    "model": "Load the network",
    "lineage": "See which layers build on which",
    "extraction": "Pass the images through the network",
    "boxes": "Measure how large patches are",
    "offsets": "Measure where neurons look",
    "examples": "List the example patches",
    "clusters": "Cluster the neurons",
    "embedding": "Embed the neurons",
    "projection": "Lay out the map",
    "importance": "Judge what classes rely on",
    "confusions": "Compare confusions",
    "labels": "Label the clusters",
    "influence": "Switch clusters off, one by one",
    "quality": "Measure what it is worth",
    "previews": "Keep small pictures",
}
"""What a run does, step by step."""


def export_by_command(folder: Path) -> str:
    """Return how to export a run that is too large for the browser."""
    return f"too large to be sent by the app: python -m neurocarto export {folder} OUT.zip"


def job_over(status: Status) -> str:
    """Return how a job has ended."""
    match status.state:
        case "finished":
            return "is finished."
        case "stopped":
            return "was stopped. What it had finished is kept, and it can go on from there."
        case "failed":
            return f"could not be made: {status.error}"
        case _:
            return f"has ended too early: {status.error}."


SIGN_IN = """
This server shows its runs to people whom it knows. Sign in to go on.

If you came by a link, open it again after signing in: the way through the sign-in leads to the first page.
"""
SIGN_IN_UNINSTALLED = (
    "This server's secrets ask visitors to sign in, but what that takes is not installed, so nothing is shown. Whoever "
    "runs it: pip install -r requirements-auth.txt, then start the app again."
)
SECRETS_UNREADABLE = (
    "This server's secrets cannot be read, and they may ask visitors to sign in, so nothing is shown. Whoever runs it: "
    "mend .streamlit/secrets.toml; the server's log says what is wrong."
)


def signed_in(email: str) -> str:
    """Return who is signed in."""
    return f"Signed in as {email}." if email else "You are signed in."


def not_welcome(email: str) -> str:
    """Return that a visitor has signed in but is not among those who may see the app."""
    who = f"as {email}, but that address is" if email else "without an address, and so are"
    return f"You are signed in {who} not among those who may see this server's runs. Ask whoever runs it."


def sign_in_misconfigured(problem: str) -> str:
    """Return that signing in is set up wrongly, with what Streamlit says of it."""
    return f"Signing in is not set up rightly: {' '.join(problem.split())}"


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
OWN_MODULE = (
    "This run’s network was given in Python, which the app does not run; from a function that makes it: "
    "python -m neurocarto look RUN IMAGE --model package.module:function"
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
