"""A module as a network: its graph is what it is observed to do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At, Network
from rv_check.modules.guard import run_theirs
from rv_check.modules.observe import Subject


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

    @property
    def has_steps(self) -> bool:
        """It has none."""
        return False

    def graph(self, at: At, form: Form = Form.AT_ANY_SIZE) -> Graph:
        """What it does there. Raises: RvCheckError with what the module raised, at which input."""
        mode = " in train mode" if at.training else ""
        what = f"{self.name} {self.does_not} {self.subject.inputs(at)}{mode}"
        graph: Graph = run_theirs(what, lambda: self.subject.observe(at, form))
        return graph

    def cut(self, step: str) -> ModuleNetwork:
        """Raises: RvCheckError, since it has no steps."""
        raise RvCheckError(f"{self.name} has no step {step}", expected="an arch")


@dataclass(frozen=True)
class AsTaken:
    """A network at the channels that a module takes, whatever it is asked for."""

    network: Network
    subject: Subject

    @property
    def name(self) -> str:
        """What a report calls it."""
        return self.network.name

    @property
    def has_steps(self) -> bool:
        """Whether it may be cut at one."""
        return self.network.has_steps

    def graph(self, at: At, form: Form = Form.AT_ANY_SIZE) -> Graph:
        """Its graph there. Raises: as that of the network."""
        return self.network.graph(replace(at, input=self.subject.inputs(at).shape), form)

    def cut(self, step: str) -> AsTaken:
        """The network up to that step."""
        return replace(self, network=self.network.cut(step))
