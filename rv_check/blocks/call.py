"""How a class is called for a case: as somebody says, or as the names in its signature suggest."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rv_check.archs.arguments import with_defaults
from rv_check.blocks.contract import Contract, typed
from rv_check.language.expressions import Argument, Call, Scope, parse_call
from rv_check.ops.op import Shape
from rv_check.values import Value

if TYPE_CHECKING:
    from torch import nn

IN = ("in_channels", "inplanes", "in_planes", "in_chs", "in_ch", "in_channel", "inp", "c_in", "cin", "in_c", "in_dim")
OUT = ("out_channels", "out_chs", "out_planes", "out_ch", "out_channel", "oup", "c_out", "cout", "out_c", "out_dim")
PLANES = ("planes", "width", "mid_channels", "bottleneck_channels", "channels", "filters", "dim")
STRIDE = ("stride", "strides")
GROUPS = ("groups", "cardinality")
PROJECTION = ("downsample", "shortcut", "projection", "skip")
MADE = "projection"  # an argument of a call: conv 1x1 and norm where the shapes need them, else None


@dataclass(frozen=True)
class How:
    """How a class is called for a case: expressions over the contract's arguments and the letters of its input."""

    text: str
    call: Call
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """The names that the call depends on."""
        return {name.id for argument in self.call.arguments for name in argument.value.names()}

    def arguments(self, contract: Contract, values: Mapping[str, Value], x: Shape) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of one case. Raises: SpecError."""
        marker = object()
        scope = contract.scope(values, x).with_values({MADE: marker})
        by_position, by_name = [], dict(self.kwargs)
        for argument in self.call.arguments:
            value = self._value(argument, scope)
            if value is marker:
                value = _projection(contract, values, x)
            if argument.keyword is None:
                by_position.append(value)
            else:
                by_name[argument.keyword] = value
        return by_position, by_name

    @staticmethod
    def _value(argument: Argument, scope: Scope) -> Any:
        value = argument.value.evaluate(scope)
        return float(value) if isinstance(value, Fraction) else list(value) if isinstance(value, tuple) else value


def parse_how(cls_name: str, text: str, kwargs: Mapping[str, Any] | None = None) -> How:
    """What `--call` gives. Raises: SpecError."""
    expected = "arguments of the class, as in in_channels=C, out_channels=4*width, stride=stride"
    call = parse_call(typed(f"{cls_name}({text})"), "a call", expected)
    return How(text, call, kwargs or {})


def _projection(contract: Contract, values: Mapping[str, Value], x: Shape) -> nn.Module | None:
    """What torchvision's caller makes: a 1x1 convolution and a norm, where the shapes need them."""
    from torch import nn

    y = contract.out(values, x)
    if tuple(y) == tuple(x):
        return None
    stride = with_defaults(contract.block, values).get("stride", 1)
    out = y[0] or x[0]
    return nn.Sequential(nn.Conv2d(x[0], out, 1, stride, bias=False), nn.BatchNorm2d(out))


def guesses(cls: Any, contract: Contract, kwargs: Mapping[str, Any]) -> Iterator[How]:
    """The calls that the names in a signature suggest, the likeliest first."""
    named = [p for p in _parameters(cls) if p.name not in kwargs]
    out, has_width = contract.out_channels, "width" in contract.block.arguments
    expansion = getattr(cls, "expansion", None)  # torchvision's word for the output's channels over `planes`
    divided = [f"{out}//{expansion}"] if isinstance(expansion, int) and expansion > 1 and out.isidentifier() else []
    width = ["width"] if has_width and out != "width" else []
    wide, narrow = [out, *width, *divided], [*width, *divided] if expansion is not None else [*width, out]
    narrow = narrow or [out]

    def options(p: inspect.Parameter) -> list[str]:
        if p.name in IN:
            return ["C"]
        if p.name in OUT:
            return wide
        if p.name in PLANES:
            return list(dict.fromkeys(narrow))
        if p.name in STRIDE:
            return ["stride"] if "stride" in contract.block.arguments else []
        if p.name in GROUPS and "groups" in contract.block.arguments:
            return ["groups"]
        if p.name in PROJECTION and (p.default is None or p.default is p.empty):
            return [MADE]
        if p.name in PROJECTION and isinstance(p.default, bool):
            needed = f"C != {out}" + (" or stride != 1" if "stride" in contract.block.arguments else "")
            return [needed]
        return []

    known = {p.name: options(p) for p in named}
    unknown = [p for p in named if not known[p.name] and p.default is p.empty]
    if unknown and not any(known.values()):  # the arguments go by position
        for parameter, some in zip(unknown, (["C"], wide, ["stride"]), strict=False):
            known[parameter.name] = some
    elif unknown:
        return
    several = next((name for name, some in known.items() if len(some) > 1), None)
    for option in known[several] if several else [""]:
        chosen = [f"{name}={option if name == several else some[0]}" for name, some in known.items() if some]
        yield parse_how("block", ", ".join(chosen), kwargs)


def _parameters(cls: Any) -> list[inspect.Parameter]:
    """The parameters that have names; of a class that passes all of them on, those of the class that it extends."""
    found: list[inspect.Parameter] = []
    for one in cls.__mro__ if isinstance(cls, type) else (cls,):
        try:
            parameters = inspect.signature(one).parameters.values()
        except (TypeError, ValueError):
            continue
        found = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if found or not any(p.kind == p.VAR_POSITIONAL for p in parameters):
            break
    return found
