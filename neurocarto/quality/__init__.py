"""What a map is worth: its claims, tested on images that did not form them."""
