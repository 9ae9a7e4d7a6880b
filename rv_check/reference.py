"""Reference implementations: a registry of providers. A spec names a provider and a builder, and imports nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from rv_check.arch import Arch
from rv_check.problems import RvCheckError, nearest, quote
from rv_check.tree import definition_scope, with_defaults


class MissingDependency(RvCheckError):
    """A package that is not installed. The message says what would install it."""


def need(module: str) -> Any:
    """Import an optional package. Raises: MissingDependency."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f"{module} cannot be imported ({error}); pip install 'rv-check[torch]' brings it"
        raise MissingDependency(message) from None


class Provider(Protocol):
    """What a provider of references answers."""

    def build(self, name: str, arguments: dict[str, Any]) -> Any:
        """The freshly initialised module."""

    def version(self) -> str:
        """The version of the package."""


class Torchvision:
    """`torchvision.models`."""

    def build(self, name: str, arguments: dict[str, Any]) -> Any:
        models = need("torchvision.models")
        known = models.list_models(module=models)
        if name not in known:
            near = nearest(name, known)
            hint = f", did you mean: {near}" if near else ""
            raise RvCheckError(f"torchvision.models has no builder {quote(name)}{hint}")
        return models.get_model_builder(name)(weights=None, **arguments)

    def version(self) -> str:
        return str(need("torchvision").__version__)


# To add a provider: a class with these two methods, a row here, and its name in spec.PROVIDERS.
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
    """The reference's module, freshly initialised. Raises: RvCheckError, MissingDependency."""
    reference = arch.entry.reference
    assert reference is not None
    provider, _, name = reference.name.rpartition(".")
    scope = definition_scope(arch.family, with_defaults(arch.family, {**arch.values, **arch.overrides}))
    arguments = {}
    for argument in reference.arguments:
        if argument.keyword is None:
            raise RvCheckError(f"{argument.place}: arguments of a reference are keywords")
        arguments[argument.keyword] = argument.value.evaluate(scope)
    return PROVIDERS[provider].build(name, arguments)


_METADATA = re.compile(r'torchvision (\w+)\.(\w+)\.meta((?:\["[^"]+"\])+)')


@dataclass(frozen=True)
class MetadataSource:
    """A source that can be looked up: `torchvision VGG16_Weights.IMAGENET1K_V1.meta["num_params"]`."""

    weights: str
    member: str
    keys: tuple[str, ...]

    def look_up(self) -> float | int:
        """The number in the installed package. Raises: RvCheckError, MissingDependency."""
        value: Any = self.entry().meta
        for key in self.keys:
            if not isinstance(value, dict) or key not in value:
                raise RvCheckError(f"torchvision's {self.weights}.{self.member}.meta has no {'/'.join(self.keys)}")
            value = value[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RvCheckError(f"{'/'.join(self.keys)} of {self.weights}.{self.member} is {value!r}, not a number")
        return value

    def entry(self) -> Any:
        """The member of the weights enumeration."""
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
