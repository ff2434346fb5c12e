"""From a model and images to the strongest patches of every neuron, in one streaming pass."""
