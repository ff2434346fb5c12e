"""From the strongest patches to clusters, a map, importance, influence and labels."""
