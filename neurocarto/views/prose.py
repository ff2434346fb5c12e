"""Our own longer texts, which are Markdown for the app, as HTML."""

import re
from html import escape

_BULLET = re.compile(r"^- ", re.MULTILINE)


def prose(text: str) -> str:
    """Return paragraphs, lists, headings, **strong** and *emphasised* words as HTML; everything else is text."""
    return "".join(_block(block.strip()) for block in text.strip().split("\n\n") if block.strip())


def _block(block: str) -> str:
    if block.startswith("### "):
        return f"<h3>{_words(block[4:])}</h3>"
    if block.startswith("- "):
        items = [_words(item) for item in _BULLET.split(block) if item]
        return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
    return f"<p>{_words(block)}</p>"


def _words(text: str) -> str:
    plain = escape(" ".join(text.split()), quote=False)
    strong = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", plain)
    return re.sub(r"\*(.+?)\*", r"<em>\1</em>", strong)
