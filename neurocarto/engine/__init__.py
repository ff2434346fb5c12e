"""Where the shards of an extraction run."""
