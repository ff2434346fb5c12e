"""Measurements of the app at scale; their results are in docs/performance.md."""
