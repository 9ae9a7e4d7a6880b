"""A network as a graph of operations; its normal form; two side by side. No torch."""

from rv_check.graphs import rules, written

__all__ = ["rules", "written"]  # they come with the package, so that the builder knows them wherever it is imported
