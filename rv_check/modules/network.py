"""A module as a network: its graph is what it is observed to do."""

from __future__ import annotations

from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At
from rv_check.modules.guard import run_theirs
from rv_check.modules.observe import Subject
from rv_check.text import shown_shape


class ModuleNetwork:
    """The network that a module is when it runs.

    Args: `subject` the module as it is observed; `name` what a report calls it; `does_not` the words for a module that
    raises, between its name and its input.
    """

    def __init__(self, subject: Subject, name: str = "the module", does_not: str = "does not run at"):
        self.subject, self._name, self.does_not = subject, name, does_not

    @property
    def name(self) -> str:
        """What a report calls it."""
        return self._name

    def graph(self, at: At, form: Form = Form.AT_ANY_SIZE) -> Graph:
        """What it does there. Raises: RvCheckError with what the module raised, at which input."""
        what = f"{self.name} {self.does_not} {shown_shape(at.input)}"
        graph: Graph = run_theirs(what, lambda: self.subject.observe(at, form))
        return graph
