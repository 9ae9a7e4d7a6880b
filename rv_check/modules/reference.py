"""Reference implementations, and what the installed torchvision says of its weights.

References come from a registry of providers: a spec names a provider and a builder, and imports nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Protocol

from rv_check.archs.arch import Arch
from rv_check.archs.arguments import definition_scope, with_defaults
from rv_check.errors import RvCheckError, meant
from rv_check.optional import need
from rv_check.text import nearest, quote


class Provider(Protocol):
    """What a provider of references answers."""

    def build(self, name: str, arguments: dict[str, Any]) -> Any:
        """The freshly initialised module. Raises: RvCheckError, CannotRun."""


class Torchvision:
    """`torchvision.models`."""

    def build(self, name: str, arguments: dict[str, Any]) -> Any:
        models = need("torchvision.models")
        known = models.list_models(module=models)
        if name not in known:
            near = nearest(name, known)  # on the same line, as a finding of one line is all that a table shows
            hint = f", {meant(near)}" if near else ""
            raise RvCheckError(f"torchvision.models has no builder {quote(name)}{hint}")
        return models.get_model_builder(name)(weights=None, **arguments)


# To add a provider: a class with this method, a row here, and its name in language.vocabulary.PROVIDERS.
PROVIDERS: dict[str, Provider] = {"torchvision.models": Torchvision()}


def applies(arch: Arch) -> str | None:
    """None where the arch's reference builds what the arch is, else why it does not.

    An overridden argument must stand in the reference's own arguments: torchvision has no `width`.
    """
    reference = arch.entry.reference
    if reference is None:
        return "its spec declares no reference"
    used = {node.id for argument in reference.arguments for node in argument.value.names()}
    lost = [name for name in arch.overrides if name not in used]
    if lost:
        return f"{reference.name} is not told {', '.join(lost)}"
    return None


def build_reference(arch: Arch) -> Any:
    """The reference's module, freshly initialised. Raises: RvCheckError, CannotRun."""
    reference = arch.entry.reference
    assert reference is not None
    provider, _, name = reference.name.rpartition(".")
    scope = definition_scope(arch.family, with_defaults(arch.family, {**arch.values, **arch.overrides}))
    arguments = {str(a.keyword): a.value.evaluate(scope) for a in reference.arguments}
    plain = {word: float(value) if isinstance(value, Fraction) else value for word, value in arguments.items()}
    return PROVIDERS[provider].build(name, plain)


_METADATA = re.compile(r'torchvision (\w+)\.(\w+)\.meta((?:\["[^"]+"\])+)')


@dataclass(frozen=True)
class MetadataSource:
    """A source that can be looked up: `torchvision VGG16_Weights.IMAGENET1K_V1.meta["num_params"]`."""

    weights: str
    member: str
    keys: tuple[str, ...]

    def look_up(self) -> float | int:
        """The number in the installed package. Raises: RvCheckError, CannotRun."""
        value: Any = self.entry().meta
        for key in self.keys:
            if not isinstance(value, dict) or key not in value:
                raise RvCheckError(f"torchvision's {self.weights}.{self.member}.meta has no {'/'.join(self.keys)}")
            value = value[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RvCheckError(f"{'/'.join(self.keys)} of {self.weights}.{self.member} is {value!r}, not a number")
        return value

    def entry(self) -> Any:
        """The member of the weights enumeration.

        Raises: RvCheckError where there is none, CannotRun without torchvision.
        """
        models = need("torchvision.models")
        weights = getattr(models, self.weights, None)
        if weights is None or self.member not in getattr(weights, "__members__", {}):
            raise RvCheckError(f"torchvision.models has no {self.weights}.{self.member}")
        return weights[self.member]


@cache
def metadata_source(source: str) -> MetadataSource | None:
    """The source as something to look up, or None where it is words."""
    match = _METADATA.fullmatch(source)
    if match is None:
        return None
    return MetadataSource(match[1], match[2], tuple(re.findall(r'\["([^"]+)"\]', match[3])))
