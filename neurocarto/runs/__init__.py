"""The run folder: writing, reading and checking it. Nothing here imports torch."""
