"""NeuroCartography: a map of the concepts that a vision network has learnt."""

__version__ = "0.1.0"
