"""Rules of norms that are written out: a map times numbers, and more of them, that a norm makes of its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import NamedTuple

from rv_check.graphs.builder import Builder, reshaped, rule, state_of
from rv_check.graphs.graph import Node, State


class Factor(NamedTuple):
    """A parameter or buffer x that others are multiplied with, or 1 / sqrt(x + eps) where there is an `eps`."""

    state: State
    eps: float | None = None


Terms = Mapping[tuple[Factor, ...], float]  # a sum of products, each with the number that it is multiplied with


@rule("a norm by its running statistics is a scale and a shift of every channel", "sum")
def norm_written_out(b: Builder, node: Node) -> Node | None:
    """x a + (b - m a), where a = w / sqrt(v + eps): how a frozen norm is computed, its numbers first."""
    if len(node.inputs) != 2 or node.fixed:
        return None
    for scaled, offset in (node.inputs, node.inputs[::-1]):
        if scaled.kind != "product" or len(scaled.inputs) != 2 or not _is_of_channels(offset, node):
            continue
        for x, factor in (scaled.inputs, scaled.inputs[::-1]):
            if x.shape == node.shape and not x.fixed and _is_of_channels(factor, node):
                found = _norm(b, x, _terms(factor), _terms(offset), node)
                if found is not None:
                    return found
    return None


def _norm(b: Builder, x: Node, scale: Terms | None, offset: Terms | None, node: Node) -> Node | None:
    if scale is None or offset is None or [*scale.values()] != [1]:
        return None
    (factors,) = scale
    variances = [one for one in factors if one.eps is not None]
    tensors: dict[str, list[Factor]] = {"bias": [], "running_mean": [], "running_var": variances}
    tensors["weight"] = [one for one in factors if one.eps is None]
    for factors_of_term, number in offset.items():
        rest = [*factors_of_term]
        if number == 1:
            tensors["bias"] += rest
        elif number == -1 and all(one in rest for one in factors):
            for one in factors:
                rest.remove(one)
            tensors["running_mean"] += rest
        else:
            return None
    roles = {role: values[0].state for role, values in tensors.items() if len(values) == 1}
    needed = {"running_mean", "running_var"}
    channels = node.shape[1]
    if len(offset) != 1 + ("bias" in roles) or not needed <= roles.keys() or any(len(v) > 1 for v in tensors.values()):
        return None
    if any(prod(state.shape) != channels for state in roles.values()):
        return None
    states = {role: reshaped(state, (channels,)) for role, state in roles.items()}
    eps = variances[0].eps
    return b.make("batchnorm", x, shape=node.shape, tensors=states, like=node, eps=eps, statistics="running")


def _is_of_channels(value: Node, node: Node) -> bool:
    """Whether it has a number for each channel, whatever the input is."""
    wide = (1,) * (len(node.shape) - len(value.shape)) + value.shape
    return value.fixed and len(node.shape) > 1 and wide == (1, node.shape[1], *(1,) * (len(node.shape) - 2))


def _terms(value: Node) -> Terms | None:
    """A value as a sum of products of parameters and buffers, element by element; None where it is another one."""
    state = state_of(value)
    if isinstance(state, State):
        return _of(state)
    match value.kind:
        case "reshape":
            return _terms(value.inputs[0])
        case "rsqrt":
            return _inverse_root(value.inputs[0])
        case "div" if value.inputs and value.inputs[-1].kind == "sqrt":
            divided = value.tensors.get("self")
            above = _of(divided) if isinstance(divided, State) else _terms(value.inputs[0])
            return _multiplied(above, _inverse_root(value.inputs[-1].inputs[0]))
        case "scale":
            return _multiplied(_terms(value.inputs[0]), {(): value.attributes["by"]})
        case "product" if len(value.inputs) == 2:
            return _multiplied(*map(_terms, value.inputs))
        case "sum":
            found: dict[tuple[Factor, ...], float] = {}
            for terms in map(_terms, value.inputs):
                if terms is None:
                    return None
                for factors, number in terms.items():
                    found[factors] = found.get(factors, 0) + number
            return found
    return None


def _multiplied(one: Terms | None, other: Terms | None) -> Terms | None:
    if one is None or other is None:
        return None
    found: dict[tuple[Factor, ...], float] = {}
    for (factors, number), (others, times) in product(one.items(), other.items()):
        both = tuple(sorted((*factors, *others), key=str))
        found[both] = found.get(both, 0) + number * times
    return found


def _inverse_root(value: Node) -> Terms | None:
    """1 / sqrt(x + eps)."""
    if value.kind != "shift":
        return None
    state = state_of(value.inputs[0])
    return _of(state, value.attributes["by"]) if isinstance(state, State) else None


def _of(state: State, eps: float | None = None) -> Terms:
    return {(Factor(reshaped(state, (prod(state.shape),)), eps),): 1}
