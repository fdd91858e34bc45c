"""Models: one file each, in the order of its paper."""
