"""A definition, expanded: a tree with shapes, and exact numbers of it. No torch."""
