"""Programs that make what the repository carries; nothing in neurocarto imports them."""
