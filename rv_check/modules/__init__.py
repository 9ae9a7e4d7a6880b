"""Torch modules: built from a tree, named by a user, observed as a graph."""
