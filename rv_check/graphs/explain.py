"""Differences in words: what differs, where on both sides, how often, and what kind of mistake it usually is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rv_check.errors import Place
from rv_check.graphs.causes import causes, parent
from rv_check.graphs.differences import Difference
from rv_check.graphs.graph import Node, called, describe, said
from rv_check.graphs.match import Match

Makers = Callable[[Sequence[str]], Mapping[str, "Maker"]]
NAMES = 4  # parameters that are named where they are told of
SHOWN = 3  # operations or places that are named before "and so many more"


@dataclass(frozen=True)
class Maker:
    """The part of a module that a parameter came with, and the line of code that made it, where it was found."""

    path: str
    place: Place | None


def nobody(names: Sequence[str]) -> Mapping[str, Maker]:
    """Where nothing is known of who made parameters."""
    return {}


@dataclass(frozen=True)
class Mistake:
    """One mistake, however often it was made. `step` and `place` are the spec's, `path` and `call` the module's."""

    kind: str
    title: str
    at: int
    count: int
    step: str
    place: Place | None
    path: str
    call: Place | None
    found: str
    expected: str
    lines: tuple[str, ...]
    training: bool = False  # it shows in train mode only
    where: str = ""  # the step in words, where it has but a number


def explain(match: Match, sides: tuple[str, str] = ("yours", "spec"), makers: Makers = nobody) -> list[Mistake]:
    """The differences of two graphs as mistakes, in the order of the flow.

    Args: `sides` what to call found and expected; `makers` says who made parameters that are never used.
    """
    differences = [part for one in match.differences for part in _by_maker(one, makers)]
    groups = causes(match, differences)
    return sorted((_mistake(match, group, sides, makers) for group in groups), key=lambda mistake: mistake.at)


def _by_maker(d: Difference, makers: Makers) -> list[Difference]:
    """Parameters of no use, those apart that another line of code made."""
    made = makers(d.names) if d.kind == "unused" else {}
    ((what, (told, expected)),) = d.details.items() if made else (("", ("", "")),)
    parts: dict[Maker | None, dict[str, str]] = {}
    for name, words in zip(d.names, told.split(", "), strict=False) if made else ():
        parts.setdefault(made.get(name), {})[name] = words
    return [
        replace(d, names=list(names), details={what: (", ".join(names.values()), expected)}) for names in parts.values()
    ] or [d]


def _mistake(match: Match, group: Sequence[Difference], sides: tuple[str, str], makers: Makers) -> Mistake:
    group = _apart(group)
    first, count = group[0], len(group)
    expected_node, found_node = next(iter(first.expected), None), next(iter(first.found), None)
    found, expected = _values(first)
    title = _title(first, group, found, expected)
    anchor = expected_node or first.before[0] or first.after[0]
    counterpart = found_node or first.before[1] or first.after[1]
    step = anchor.name if anchor is not None and anchor.kind != "input" else ""
    wide = max(map(len, sides))
    found_at = _where(first.found or [node for node in (first.after[1], first.before[1]) if node])
    expected_at = _where(first.expected or [node for node in (first.after[0], first.before[0]) if node])
    maker = makers(first.names).get(first.names[0]) if first.kind == "unused" else None
    if first.kind == "unused":
        known = maker.place if maker else None
        owner = maker.path if maker else first.names[0].rpartition(".")[0] or first.names[0]
        found_at, expected_at = f"{known.short}  {owner}" if known else owner, ""
    lines = [f"{side:<{wide}}  {where}" for side, where in zip(sides, (found_at, expected_at), strict=True) if where]
    lines += _excerpt(first)
    if count > 1:
        names = [_step(d.expected[0] if d.expected else d.found[0]) for d in group[:SHOWN]]
        more = f", and {count - SHOWN} more" if count > SHOWN else ""
        lines.append(f"at {', '.join(names)}{more}")
    lines += _elsewhere(group)
    lines += _others(match, group)
    hint = _hint(group)
    if hint:
        lines.append(f"usually: {hint}")
    return Mistake(
        first.kind,
        title + (f", x{count}" if count > 1 else ""),
        first.at,
        count,
        step,
        anchor.place if anchor is not None else None,
        maker.path if maker else counterpart.name if counterpart is not None else "",
        maker.place if maker else counterpart.place if counterpart is not None else None,
        found,
        expected,
        tuple(lines),
        where=said(anchor) if anchor is not None and step.rpartition(".")[2].isdecimal() else "",
    )


def _apart(group: Sequence[Difference]) -> Sequence[Difference]:
    """The differences that count: of parameters that the same parts share, one, with the names of all."""
    if group[0].kind != "shared":
        return group
    sets: dict[tuple[str, ...], list[Difference]] = {}
    for one in group:
        sets.setdefault(_users(one), []).append(one)
    return [replace(one[0], names=[name for each in one for name in each.names]) for one in sets.values()]


def _users(d: Difference) -> tuple[str, ...]:
    """The parts of a network that share a parameter."""
    parents = tuple(dict.fromkeys(parent(node) or node.name for node in d.expected))
    return parents if len(parents) > 1 else tuple(dict.fromkeys(node.name for node in d.expected))


def _counted(number: int) -> str:
    return f"{number} parameters and buffers" if number > 1 else "a parameter or buffer"


def _some(words: Sequence[str], last: str) -> str:
    """The first of some names, and how many more there are. Args: `last` what stands before the last of a few."""
    if len(words) > SHOWN:
        return f"{', '.join(words[:SHOWN])} and {len(words) - SHOWN} more"
    *first, end = words
    return f"{', '.join(first)}{last}{end}" if first else end


def _where(nodes: Sequence[Node]) -> str:
    named = [node for node in nodes if node.kind != "input"]
    if not named:
        return "the input" if nodes else ""
    place = next((node.place for node in named if node.place is not None), None)
    names = " -> ".join(_name(node) for node in named[:SHOWN]) + (" -> ..." if len(named) > SHOWN else "")
    return f"{place.short}  {names}" if place is not None else names


def _name(node: Node) -> str:
    """A step's name says its op where it is no mere number; a module's path may hold several operations."""
    last = node.name.rpartition(".")[2]
    if not node.name:
        return called(node)
    return node.name if called(node) in last else said(node)


def _step(node: Node) -> str:
    """The name of an operation; of a step that has but a number, where it is."""
    told = said(node)
    return told if told.startswith("the ") else node.name


def _elsewhere(group: Sequence[Difference]) -> list[str]:
    """The other values of one mistake, where it has others with other widths or kernels."""
    if group[0].kind != "arguments":
        return []
    (_, expected), *others = dict.fromkeys(_values(d) for d in group)
    alike = all(other == expected for _, other in others)
    told = [found if alike else f"{found} for {other}" for found, other in others]
    return [f"elsewhere {', '.join(told)}"] if told else []


def _values(d: Difference) -> tuple[str, str]:
    if d.kind == "unused":
        ((found, expected),) = d.details.values()
        return ", ".join(found.split(", ")[:NAMES]), expected
    if d.kind == "state":
        return ", ".join(value for value, _ in d.details.values()), ", ".join(value for _, value in d.details.values())
    if d.details:
        bare = {*BARE, *(d.details if d.kind == "output" else ())}
        found = ", ".join(value if name in bare else f"{name} {value}" for name, (value, _) in d.details.items())
        expected = ", ".join(value if name in bare else f"{name} {value}" for name, (_, value) in d.details.items())
        return found, expected
    return _list(d.found) or "nothing", _list(d.expected) or "nothing"


BARE = ("op", "registered", "input", "place", "parameter", "buffer", "parameters", "values")


def _list(nodes: Sequence[Node]) -> str:
    kinds = " -> ".join(called(node) for node in nodes[:SHOWN])
    return kinds + (f" -> ... ({len(nodes)} operations)" if len(nodes) > SHOWN else "")


def _title(d: Difference, group: Sequence[Difference], found: str, expected: str) -> str:
    kind = called(next(iter([*d.expected, *d.found]))) if d.expected or d.found else ""
    match d.kind:
        case "missing":
            return f"missing {_list(d.expected)}"
        case "extra":
            return f"extra {_list(d.found)}"
        case "replaced":
            return f"{found} instead of {expected}"
        case "moved" if "stride" in d.details:
            at = [d.found[0], d.found[1]] if d.details["stride"][0] != "1" else [d.found[1], d.found[0]]
            stride = max(d.details["stride"])
            return f"stride {stride} on {_name(at[0])}, expected on {_name(at[1])}"
        case "moved":
            return f"{_list(d.expected)} {found}, expected {expected}"
        case "arguments" if "op" in d.details:
            return f"{found} instead of {expected}"
        case "arguments" if d.details.get("statistics", ())[:1] == ("running",):
            return f"frozen {kind} with {found}, expected {expected}"
        case "arguments":
            return f"{kind} with {found}, expected {expected}"
        case "unregistered":
            return f"{kind}: {found}"
        case "wiring":
            return f"{kind} takes {found}, expected {expected}"
        case "output":
            (what,) = d.details
            return f"the {what} is {found}, expected {expected}"
        case "state":
            return f"{kind} uses {found} as its {', '.join(d.details)}, expected {expected}"
        case "constant":
            name = " for ".join(dict.fromkeys(reversed(d.names))) or "a tensor that is not registered"
            return f"{kind} uses another constant: {name} is {found}, expected {expected}"
        case "shared":
            return f"{_some(_users(d), ' and ')} share {_counted(len(d.names))}: {_some(d.names, ', ')}"
        case "unused":
            (what,) = d.details
            return f"{len(d.names)} {what}{'s are' if len(d.names) > 1 else ' is'} never used: {found}"
    raise AssertionError(d.kind)


def _excerpt(d: Difference) -> list[str]:
    """The operations around what is missing or too much, as they stand in the module."""
    if d.kind not in ("missing", "extra"):
        return []
    sign, words = ("+", "expected here") if d.kind == "missing" else ("-", "not expected")
    changed = d.expected if d.kind == "missing" else d.found
    rows = [(" ", d.after[1], "")]
    rows += [(sign, node, words) for node in changed[:SHOWN]]
    rows += [(" ", d.before[1], "")]
    shown = [(mark, _last(node), describe(node), text, node) for mark, node, text in rows if node is not None]
    width = max((len(name) for _, name, *_ in shown), default=0)
    lines = [
        f"   {mark} {name:<{width}}  {what}  {text or _size(node)}".rstrip() for mark, name, what, text, node in shown
    ]
    if len(changed) > SHOWN:
        lines.insert(-1, f"   {sign} ... {len(changed) - SHOWN} more")
    return lines


def _last(node: Node) -> str:
    last = node.name.rpartition(".")[2]
    return "" if called(node) in last or last.isdecimal() else last


def _size(node: Node) -> str:
    return "x".join(map(str, node.shape[1:]))


def _others(match: Match, group: Sequence[Difference]) -> list[str]:
    """How many of the other operations with the same part, from the same line of what is expected, are right."""
    first = group[0]
    if first.kind not in ("missing", "arguments", "moved", "wiring") or not first.expected[0].place:
        return []
    own = {node for difference in group for node in difference.expected}
    concerned = {node for difference in match.differences for node in difference.expected}
    others = [node for node in match.expected.nodes if node not in own and _has_part_of(first.expected[0], node)]
    right = [node for node in others if node in match.pairs and node not in concerned]
    if not right:
        return []
    do = ("have it", "has it") if first.kind == "missing" else ("are right", "is right")
    if len(right) < len(others):
        return [f"{len(right)} others {do[0]}" if len(right) > 1 else f"another one {do[1]}"]
    return [f"the other {len(right)} {do[0]}" if len(right) > 1 else f"the other one {do[1]}"]


def _has_part_of(node: Node, other: Node) -> bool:
    """Whether another operation is the same one of another block: of that kind, from that line, called alike."""
    names = [one.name.rpartition(".")[2] for one in (node, other)]
    alike = names[0] == names[1] or all(name.isdecimal() for name in names)
    return node.kind == other.kind and node.place == other.place and alike


def _hint(group: Sequence[Difference]) -> str:
    first = group[0]
    touched = {node.kind for node in (*first.expected, *first.found)}
    alone = first.kind in ("missing", "extra")  # of a whole block that is missing it is not said what one relu means
    words = _words(first) | ({"everywhere"} if len(group) >= MANY else set())
    for kinds, ops, needed, text in HINTS:
        fits = not ops or (touched == {ops} if alone else set(ops.split()) <= touched)
        if first.kind in kinds.split() and fits and set(needed.split()) <= words:
            return text
    return ""


def _words(d: Difference) -> set[str]:
    """The names of what differs, each also with the words of what is found, and the kernels of convolutions."""
    words = set(d.details)
    for name, (found, _) in d.details.items():
        words |= {f"{name}={word}" for word in found.replace(",", " ").split()}
    for node in (*d.expected, *d.found):
        words |= {f"kernel={'x'.join(map(str, node.attributes['kernel']))}"} if "kernel" in node.attributes else set()
    return words


MANY = 8  # operations that are wrong alike: no slip at one place

# Kinds of difference, ops in it ("" any), words of its details that are all needed ("" none), what it usually is. The
# first that fits.
HINTS: tuple[tuple[str, str, str, str], ...] = (
    (
        "moved",
        "conv",
        "stride kernel=1x1 kernel=3x3",
        "ResNet v1 has the stride on the first 1x1 of a bottleneck, v1.5 on its 3x3",
    ),
    ("moved", "sum", "", "what should come before an addition comes after it, or the other way round"),
    ("moved", "relu", "place", "an activation on the other side of an addition or of a norm"),
    ("moved", "batchnorm", "", "norm and activation in the other order"),
    ("missing", "sum", "", "the residual is never added"),
    ("missing", "relu", "", "an activation left out, or computed and not used"),
    ("missing", "batchnorm", "everywhere", "norms left out, or folded into the convolutions without a bias"),
    ("missing", "batchnorm", "", "a projection or stem without its norm"),
    ("missing", "dropout", "", "dropout left out, or another rate by default"),
    ("extra", "_softmax", "", "softmax in the model, and again in the loss"),
    ("extra", "_log_softmax", "", "softmax in the model, and again in the loss"),
    ("extra", "dropout", "", "regularisation that the spec does not have"),
    ("extra", "sum", "", "a long skip, or an addition too many"),
    (
        "replaced",
        "conv batchnorm",
        "op=bias",
        "a folded norm: its scale and shift are in the weights of the layer before",
    ),
    ("arguments", "batchnorm", "eps=0.001", "another library's default: Keras and TensorFlow have 1e-3"),
    ("arguments", "batchnorm", "eps", "another library's default"),
    ("arguments", "batchnorm", "momentum=0.9", "another convention: Keras' momentum is 1 minus torch's"),
    ("arguments", "batchnorm", "momentum=0.99", "another convention: Keras' momentum is 1 minus torch's"),
    ("arguments", "batchnorm", "momentum=0.01", "another library's default: Keras' 0.99 is 0.01 in torch"),
    ("arguments", "batchnorm", "statistics=batch", "the norm never leaves train mode, or keeps no running statistics"),
    (
        "arguments",
        "batchnorm",
        "statistics=running",
        "a frozen norm: it uses its running statistics in train mode, too",
    ),
    ("arguments", "maxpool", "ceil_mode=True", "Caffe's pools round up"),
    ("arguments", "", "padding=behind", "SAME padding: TensorFlow puts what is odd of it behind"),
    ("arguments", "maxpool", "padding", "padding forgotten, or another library's"),
    ("arguments", "conv", "dilation", "a network for segmentation: dilation in place of stride"),
    (
        "arguments",
        "conv",
        "bias=one",
        "a convolution before a norm needs no bias, and the published networks have none",
    ),
    ("arguments", "conv", "groups=1", "groups not passed on to the convolution"),
    ("arguments", "dropout", "p", "another rate by default"),
    ("arguments", "", "weight=masked:", "pruned weights: a mask is kept beside them until it is made permanent"),
    ("wiring", "sum", "", "the skip begins at the wrong place, or something writes in place into what it reads"),
    ("wiring", "", "", "a result computed and not used, or the wrong variable passed on"),
    ("state", "", "", "a checkpoint loads without a complaint, and the network computes something else"),
    ("constant", "", "", "another table, mask or mean; one that is saved with the state comes with its weights"),
    ("shared", "", "", "one instance repeated, as [block] * n does, or a layer defined once and called twice"),
    ("unregistered", "", "", "layers in a Python list or dict: nn.ModuleList and nn.ModuleDict register them"),
)
