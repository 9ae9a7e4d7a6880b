"""A network as a graph of operations; its normal form; two side by side. No torch."""

from rv_check.graphs import rules

__all__ = ["rules"]  # they come with the package, so that the builder knows them wherever it is imported
