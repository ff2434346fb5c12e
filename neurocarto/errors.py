"""The exceptions of NeuroCartography.

Every problem that a user can cause or mend is one of these; its message is one line that names the
value, why it is wrong and what to do. The command line prints it and exits with 2; the app shows it
in place.

    NeurocartoError
    ├── SettingsError    a setting outside its range
    ├── ModelError       a model, weights or layer that cannot be used
    ├── ImagesError      an image folder that cannot be used
    ├── EngineError      a cluster that cannot be used
    ├── RunError         a run folder that is missing, damaged, occupied or of another format
    └── NamesError       names of clusters that cannot be read or kept
"""


class NeurocartoError(Exception):
    """Base of every exception that NeuroCartography raises on purpose."""


class SettingsError(NeurocartoError):
    """A setting lies outside its range."""


class ModelError(NeurocartoError):
    """A model, its weights or one of its layers cannot be used."""


class ImagesError(NeurocartoError):
    """An image folder cannot be used."""


class EngineError(NeurocartoError):
    """A cluster cannot be used, or its machines fail."""


class RunError(NeurocartoError):
    """A run folder is missing, damaged, occupied or of another format."""


class NamesError(NeurocartoError):
    """Names of clusters cannot be read or kept."""


def printable(text: object, most: int = 80) -> str:
    """Return a stranger's text as it may stand in a line: its beginning, with escapes for what would break the line."""
    whole = str(text)
    cut = whole if len(whole) <= most else f"{whole[: most - 1]}…"
    return cut if cut.isprintable() else repr(cut)[1:-1]


def one_line(text: object) -> str:
    """Return a text, or an exception's text or else its name, as one line."""
    return " ".join(str(text).split()) or type(text).__name__
