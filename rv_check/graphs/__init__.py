"""A network as a graph of operations; its normal form; two side by side. No torch."""

from rv_check.graphs import norms, rules, written

__all__ = [
    "norms",
    "rules",
    "written",
]  # they come with the package, so that the builder knows them wherever it is imported
