"""The scorecard: how far a run's claims hold, each beside its null."""
