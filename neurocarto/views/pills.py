"""A cluster's badge as a small pill of HTML: a sign and its word, with the numbers behind it on hover."""

from html import escape

from neurocarto.quality.badges import CHANCE, SOLID, TENTATIVE, UNTESTED
from neurocarto.views.lookup import Lookup

SIGNS = {
    SOLID: ("solid", "●"),
    TENTATIVE: ("tentative", "◐"),
    CHANCE: ("chance", "○"),
    UNTESTED: ("untested", "–"),
}
"""Each badge's name in the style sheet, and its sign: never told by colour alone."""


def pill(lookup: Lookup, cluster: int) -> str:
    """Return a cluster's pill; nothing where the run was never scored."""
    word = lookup.scorecard.badges.get(cluster)
    return pill_of(word, lookup.scorecard.explanation(cluster)) if word else ""


def pill_of(word: str, why: str) -> str:
    """Return the pill of a badge. why: what shows on hover."""
    name, sign = SIGNS[word]
    return f'<span class="nc-badge nc-badge-{name}" title="{escape(why)}"><i aria-hidden="true">{sign}</i>{word}</span>'
