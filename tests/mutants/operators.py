"""Wrong networks: every shipped arch with one mistake, made at every place where it can be made.

An operator yields one mutant for each place. Of blocks that are equal at equal shapes only the middle one is mutated.
What cannot run (`DoesNotFit`) is no mutant, and is skipped and counted by `mutants`. A mutant that is provably the same
function as the arch, in training too, says so in `equivalent`: a check must not complain of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, wraps
from itertools import pairwise
from typing import Any

from rv_check.archs.arch import Arch
from rv_check.archs.load import archs, load
from tests.mutants.network import INPUT, Block, DoesNotFit, Network, Step

ACTIVATIONS = ("relu", "silu", "sigmoid")
WEIGHTED = ("conv", "linear")
WITH_PARAMETERS = (*WEIGHTED, "batchnorm")
POOLS = ("maxpool", "avgpool")
FAMILIES = ("resnet", "vgg")
NARROW = {"vgg": "width=4", "resnext50_32x4d": "width=16", "resnext101_64x4d": "width=16"}  # others: width=8


@dataclass(frozen=True)
class Mutant:
    """One wrong network.

    `steps`: all that an honest report may name as the place, by the names of `arch.rows()` or of steps that the
    mutation added: what was changed and its neighbours in the flow. `equivalent`: why it is the same network after
    all. `only_at_declared_input`: it computes the same at the arch's declared input size, and elsewhere not.
    """

    operator: str
    arch: str
    place: str
    steps: frozenset[str]
    network: Network
    equivalent: str = ""
    only_at_declared_input: bool = False


Operator = Callable[[Network], Iterator[Mutant]]
OPERATORS: dict[str, Operator] = {}


def narrow(name: str) -> Arch:
    """The narrow copy of a shipped arch, with ten classes, at its declared input."""
    width = NARROW.get(name, NARROW["vgg"] if name.startswith("vgg") else "width=8")
    return load(f"{name}({width}, classes=10)")


def mutated() -> list[str]:
    """The names of the shipped archs of the families that the operators are made for."""
    return [arch.name for arch in archs() if arch.family.name in FAMILIES]


def narrow_archs() -> list[Arch]:
    """The narrow copy of each of these."""
    return [narrow(name) for name in mutated()]


def mutants(arch: Arch, skipped: Counter[str] | None = None) -> Iterator[Mutant]:
    """Every mutant of an arch that runs, in the order of the operators; none twice.

    Args: `skipped` counts by operator the mutants that do not fit.
    """
    network = Network.of(arch)
    seen = {network}
    for name, operator in OPERATORS.items():
        for mutant in operator(network):
            try:
                _ = mutant.network.shapes
            except DoesNotFit:
                if skipped is not None:
                    skipped[name] += 1
                continue
            if mutant.network not in seen:
                seen.add(mutant.network)
                yield mutant


def operator(function: Operator) -> Operator:
    """Make a function an operator, whose mutants have its name."""

    @wraps(function)
    def named(network: Network) -> Iterator[Mutant]:
        for mutant in function(network):
            yield replace(mutant, operator=function.__name__)

    OPERATORS[function.__name__] = named
    return named


def mutant(network: Network, names: Iterable[str], what: str, mutated: Network, equivalent: str = "") -> Mutant:
    """A mutant at the steps of these names, which stand in the network, in the mutated one, or in both."""
    names = [*names]
    steps = near(network, names) | near(mutated, names)
    return Mutant("", network.arch, f"{names[0]}: {what}", steps, mutated, equivalent)


def near(network: Network, names: Iterable[str]) -> frozenset[str]:
    """The steps of these names that are in a network, with what they read and who reads them."""
    own = {name for name in names if name in network.index}
    read = {value for name in own for value in network.step(name).inputs}
    return frozenset(own | read | {step.name for step in network.steps if own & {*step.inputs}})


# Places.


def signature(network: Network, block: Block) -> tuple[Any, ...]:
    """What makes two blocks equal: their steps, how they hang together, and the shapes."""
    at = {step.name: position for position, step in enumerate(block.steps)}
    steps = ((s.kind, s.arguments, tuple(at.get(value, -1) for value in s.inputs)) for s in block.steps)
    return (network.shapes[block.reads], *steps)


@cache
def chosen_blocks(network: Network) -> tuple[Block, ...]:
    """The middle one of every set of equal blocks."""
    sets: dict[tuple[Any, ...], list[Block]] = {}
    for block in network.blocks:
        sets.setdefault(signature(network, block), []).append(block)
    return tuple(equal[len(equal) // 2] for equal in sets.values())


@cache
def chosen(network: Network, *kinds: str) -> tuple[Step, ...]:
    """The steps, of these kinds if any are given, of the chosen blocks and of what is in no block."""
    blocks = {"", *(block.name for block in chosen_blocks(network))}
    return tuple(s for s in network.steps if s.block in blocks and (not kinds or s.kind in kinds))


def residual_blocks(network: Network) -> list[tuple[Block, Step]]:
    """The chosen blocks that have a sum, each with it."""
    return [(block, block.sum) for block in chosen_blocks(network) if block.sum]


def run_of(network: Network, block: Block) -> list[Block]:
    """The equal blocks in a row that a block is one of."""
    blocks = [*network.blocks]
    own = signature(network, block)
    first = last = blocks.index(block)
    while first and signature(network, blocks[first - 1]) == own and blocks[first].reads == blocks[first - 1].gives:
        first -= 1
    while last + 1 < len(blocks) and signature(network, blocks[last + 1]) == own:
        if blocks[last + 1].reads != blocks[last].gives:
            break
        last += 1
    return blocks[first : last + 1]


def names_of(steps: Iterable[Step]) -> list[str]:
    """The names of steps."""
    return [step.name for step in steps]


def of_kind(steps: Iterable[Step], *kinds: str) -> list[Step]:
    """The steps of these kinds."""
    return [step for step in steps if step.kind in kinds]


def new(like: Step, word: str, kind: str, *inputs: str, **arguments: Any) -> Step:
    """A new step, with a name beside that of another and in its block; reads what that gives unless told."""
    read = inputs or (like.name,)
    return Step(f"{like.name}_{word}", kind, read, tuple(sorted(arguments.items())), like.block, like.stage)


def end_of(network: Network, block: Block) -> Step:
    """The last step of a block."""
    return network.step(block.gives)


def is_image(network: Network, value: str) -> bool:
    """Whether a value is C H W."""
    return len(network.shapes[value]) == 3


@cache
def not_negative(network: Network) -> frozenset[str]:
    """The values that are rectified: relus, and what keeps a value at 0 or more."""
    found: set[str] = set()
    keep = ("maxpool", "avgpool", "adaptive_avgpool", "flatten", "dropout", "sum")
    for step in network.steps:
        if step.kind == "relu" or (step.kind in keep and all(value in found for value in step.inputs)):
            found.add(step.name)
    return frozenset(found)


# Convolutions and linear layers.


@operator
def stride_moved(network: Network) -> Iterator[Mutant]:
    """The stride of a conv on another conv of the same branch."""
    for block in chosen_blocks(network):
        convs = of_kind(block.main, "conv")
        for old in convs:
            for other in convs:
                if old["stride"] != (1, 1) and other["stride"] == (1, 1):
                    mutated = network.put(old.changed(stride=(1, 1)), other.changed(stride=old["stride"]))
                    yield mutant(network, (old.name, other.name), f"stride moved to {other.name}", mutated)


@operator
def stride_changed(network: Network) -> Iterator[Mutant]:
    """Another stride of a conv, or of all convs of a block that have one, so that the branches fit again."""
    for conv in chosen(network, "conv"):
        for stride in ((1, 1), (2, 2), (4, 4), (2, 1)):
            if stride != conv["stride"]:
                yield mutant(network, [conv.name], f"stride {stride}", network.put(conv.changed(stride=stride)))
    for block, _ in residual_blocks(network):
        convs = [conv for conv in of_kind(block.steps, "conv") if conv["stride"] != (1, 1)]
        for stride in ((1, 1), (4, 4)) if len(convs) > 1 else ():
            mutated = network.put(*(conv.changed(stride=stride) for conv in convs))
            yield mutant(network, names_of(convs), f"stride {stride} in both branches", mutated)


@operator
def conv_padding(network: Network) -> Iterator[Mutant]:
    """One pixel more or less of padding, padding moved to another conv, and padding by something else than zeros."""
    for conv in chosen(network, "conv"):
        for more in (1, -1):
            padding = tuple(size + more for size in conv["padding"])
            if min(padding) >= 0:
                yield mutant(network, [conv.name], f"padding {padding}", network.put(conv.changed(padding=padding)))
        for mode in ("reflect", "replicate", "circular") if conv["padding"] != (0, 0) else ():
            yield mutant(network, [conv.name], f"padding_mode {mode}", network.put(conv.changed(padding_mode=mode)))
    for block in chosen_blocks(network):
        for one, other in pairwise(of_kind(block.main, "conv")):
            for more, less in ((one, other), (other, one)):
                if less["padding"] != (0, 0):
                    wide = tuple(a + b for a, b in zip(more["padding"], less["padding"], strict=True))
                    mutated = network.put(more.changed(padding=wide), less.changed(padding=(0, 0)))
                    yield mutant(network, (less.name, more.name), f"padding moved to {more.name}", mutated)


@operator
def conv_kernel(network: Network) -> Iterator[Mutant]:
    """Another kernel, with the padding that keeps the size and with the old one."""
    others = {1: (3,), 3: (1, 5), 7: (3, 5)}
    for conv in chosen(network, "conv"):
        rows, columns = conv["kernel"]
        kernels = [(size, size) for size in others.get(rows, (rows + 2,))]
        kernels += [(1, columns), (rows, 1)] if rows > 1 else []
        for kernel in kernels:
            for padding in dict.fromkeys([tuple(size // 2 for size in kernel), conv["padding"]]):
                mutated = network.put(conv.changed(kernel=kernel, padding=padding))
                yield mutant(network, [conv.name], f"kernel {kernel}, padding {padding}", mutated)


@operator
def conv_dilation(network: Network) -> Iterator[Mutant]:
    """Dilation 2, with the padding that keeps the size and with the old one."""
    for conv in chosen(network, "conv"):
        rows, columns = conv["kernel"]
        proof = "a 1x1 kernel has no second tap that a dilation could move" if rows == columns == 1 else ""
        for padding in dict.fromkeys([(rows - 1, columns - 1), conv["padding"]]):
            mutated = network.put(conv.changed(dilation=(2, 2), padding=padding))
            yield mutant(network, [conv.name], f"dilation 2, padding {padding}", mutated, proof)


@operator
def conv_groups(network: Network) -> Iterator[Mutant]:
    """Half and twice as many groups, and one."""
    for conv in chosen(network, "conv"):
        groups = conv["groups"]
        for other in dict.fromkeys([1, groups // 2, 2 * groups]):
            if other not in (0, groups):
                yield mutant(network, [conv.name], f"groups {other}", network.put(conv.changed(groups=other)))


@operator
def bias_changed(network: Network) -> Iterator[Mutant]:
    """A bias where there is none, and none where there is one."""
    for step in chosen(network, *WEIGHTED):
        mutated = network.put(step.changed(bias=not step["bias"]))
        yield mutant(network, [step.name], f"bias {not step['bias']}", mutated)


@operator
def width_changed(network: Network) -> Iterator[Mutant]:
    """More or fewer channels in one layer; what follows it takes them. Not the last layer, which has the classes."""
    for step in chosen(network, *WEIGHTED):
        if step.name != network.output:
            out, groups = step["out"], step.get("groups", 1)
            for width in (2 * out, out // 2, out + groups, out - groups):
                if width > 0:
                    yield mutant(network, [step.name], f"out {width}", network.put(step.changed(out=width)))


# Norms.


@operator
def norm_arguments(network: Network) -> Iterator[Mutant]:
    """Another eps or momentum, no affine map."""
    for norm in chosen(network, "batchnorm"):
        for name, values in (("eps", (1e-3, 1e-6)), ("momentum", (0.01, 0.9, None)), ("affine", (False,))):
            for value in values:
                yield mutant(network, [norm.name], f"{name} {value}", network.put(norm.changed(**{name: value})))


@operator
def norm_mode(network: Network) -> Iterator[Mutant]:
    """Batch statistics in eval too, or running statistics in training too."""
    for norm in chosen(network, "batchnorm"):
        batch, frozen = norm.changed(track_running_stats=False), norm.changed(frozen=True)
        yield mutant(network, [norm.name], "always in batch mode", network.put(batch))
        yield mutant(network, [norm.name], "frozen", network.put(frozen))


@operator
def norm_replaced(network: Network) -> Iterator[Mutant]:
    """Another norm."""
    for norm in chosen(network, "batchnorm"):
        for other in (norm.into("groupnorm", groups=1), norm.into("instancenorm")):
            yield mutant(network, [norm.name], other.kind, network.put(other))


@operator
def norm_removed(network: Network) -> Iterator[Mutant]:
    """No norm, at one place or in a whole block."""
    for norm in chosen(network, "batchnorm"):
        yield mutant(network, [norm.name], "removed", network.drop(norm.name))
    for block in chosen_blocks(network):
        norms = names_of(of_kind(block.steps, "batchnorm"))
        if len(norms) > 1:
            yield mutant(network, norms, f"all norms of {block.name} removed", network.drop(*norms))


@operator
def norm_added(network: Network) -> Iterator[Mutant]:
    """A norm behind any step, and in front of everything."""
    for step in chosen(network):
        added = new(step, "norm", "batchnorm")
        yield mutant(network, [added.name], "added", network.after(added))
    added = Step("input_norm", "batchnorm", (INPUT,))
    yield mutant(network, [added.name], "added", network.after(added))


# Activations.


@operator
def activation_removed(network: Network) -> Iterator[Mutant]:
    """No activation."""
    for step in chosen(network, *ACTIVATIONS):
        yield mutant(network, [step.name], "removed", network.drop(step.name))


@operator
def activation_changed(network: Network) -> Iterator[Mutant]:
    """Another activation."""
    for step in chosen(network, *ACTIVATIONS):
        others = [step.into("leaky_relu", negative_slope=0.01)]
        others += [step.into(kind) for kind in ("silu", "gelu", "relu6", "sigmoid") if kind != step.kind]
        for other in others:
            yield mutant(network, [step.name], other.kind, network.put(other))


@operator
def activation_added(network: Network) -> Iterator[Mutant]:
    """A relu behind any step."""
    for step in chosen(network):
        added = new(step, "relu", "relu")
        readers = network.readers(step.name)
        proof = ""
        if step.name in not_negative(network):
            proof = "what is rectified already is not changed by a second relu, and neither is its gradient"
        elif readers and all(reader.kind == "relu" for reader in readers):
            proof = "the relu that follows does the same again"
        yield mutant(network, [added.name], "added", network.after(added), proof)
    for block, total in residual_blocks(network):
        if block.skip:
            continue
        added = new(total, "skip_relu", "relu", total.inputs[1])
        proof = "what is rectified already is not changed by a second relu, and neither is its gradient"
        proof = proof if total.inputs[1] in not_negative(network) else ""
        yield mutant(network, [added.name], "added on the identity", network.before(added, total.name, 1), proof)


@operator
def activation_moved(network: Network) -> Iterator[Mutant]:
    """The relu behind a sum to the end of a branch, or into the main branch of the next block.

    The last in place, too: it then rectifies what the identity reads, and is where it was.
    """
    for _, total in residual_blocks(network):
        for relu in of_kind(network.readers(total.name), *ACTIVATIONS):
            bare = network.drop(relu.name)
            for slot, value in enumerate(total.inputs):
                moved = replace(relu, inputs=(value,))
                what = f"moved across the sum, to branch {slot}"
                yield mutant(network, [relu.name, total.name], what, bare.before(moved, total.name, slot))
            inside = [s for s in network.readers(relu.name) if len(s.inputs) == 1]
            split = [s for s in network.readers(relu.name) if len(s.inputs) > 1]
            if not split or len(inside) != 1:
                continue
            target = inside[0]
            for inplace in (False, True):
                moved = relu.into(relu.kind, inplace=True) if inplace else relu
                proof = "it is in place, so that the identity reads the rectified value as before" if inplace else ""
                what = f"moved into the main branch of {target.block}{', in place' if inplace else ''}"
                steps = [relu.name, total.name, target.name, *names_of(split)]
                yield mutant(network, steps, what, bare.before(moved, target.name), proof)


# Pools and the head.


@operator
def pool_changed(network: Network) -> Iterator[Mutant]:
    """Max for average, another kernel, stride, padding, dilation or ceil_mode; no pool."""
    for pool in chosen(network, *POOLS):
        common = {name: pool[name] for name in ("kernel", "stride", "padding", "ceil_mode")}
        others = [pool.into("avgpool" if pool.kind == "maxpool" else "maxpool", **common)]
        others += [pool.into("avgpool", **common, count_include_pad=False)] if pool["padding"] != (0, 0) else []
        for name in ("kernel", "stride", "padding"):
            for more in (1, -1):
                value = tuple(size + more for size in pool[name])
                if min(value) >= (name != "padding"):
                    others.append(pool.changed(**{name: value}))
        others.append(pool.changed(ceil_mode=not pool["ceil_mode"]))
        if pool.kind == "maxpool":
            padding = tuple(size - 1 for size in pool["kernel"])
            others += [pool.changed(dilation=(2, 2)), pool.changed(dilation=(2, 2), padding=padding)]
        for other in others:
            found = mutant(network, [pool.name], _difference(pool, other), network.put(other))
            yield replace(found, only_at_declared_input=_only_ceil_differs(network, found, pool, other))
        yield mutant(network, [pool.name], "removed", network.drop(pool.name))


def _difference(old: Step, other: Step) -> str:
    if old.kind != other.kind:
        return f"{other.kind} {other.get('count_include_pad', '')}".strip()
    return ", ".join(f"{name} {value}" for name, value in other.arguments if value != old.get(name, None))


def _only_ceil_differs(network: Network, found: Mutant, old: Step, other: Step) -> bool:
    """Whether only ceil_mode differs, and there is no last window at the declared input that it would add."""
    if old.changed(ceil_mode=other["ceil_mode"]) != other:
        return False
    return found.network.shapes[other.name] == network.shapes[old.name]


@operator
def fixed_size_pool(network: Network) -> Iterator[Mutant]:
    """The pool to a fixed size: another size, the maximum, a kernel that fits at the declared input only, none."""
    for pool in chosen(network, "adaptive_avgpool"):
        out = pool["out"]
        sides = network.shapes[pool.inputs[0]][1:]
        for size in dict.fromkeys([(1, 1), tuple(n + 1 for n in out), tuple(n - 1 for n in out)]):
            if min(size) > 0 and size != out:
                yield mutant(network, [pool.name], f"to {size}", network.put(pool.changed(out=size)))
        kernel = tuple(side // n for side, n in zip(sides, out, strict=True))
        fixed = network.put(pool.into("avgpool", kernel=kernel, stride=kernel))
        found = mutant(network, [pool.name], f"AvgPool2d({kernel})", fixed)
        yield replace(found, only_at_declared_input=True)
        for mutated, what in (
            (network.put(pool.into("adaptive_maxpool", out=out)), "adaptive max"),
            (network.drop(pool.name), "removed"),
        ):
            found = mutant(network, [pool.name], what, mutated)
            yield replace(found, only_at_declared_input=sides == out)


@operator
def flatten_order(network: Network) -> Iterator[Mutant]:
    """Channels last in front of the flatten."""
    for flatten in chosen(network, "flatten"):
        read = network.step(flatten.inputs[0])
        single = read.kind == "adaptive_avgpool" and read["out"] == (1, 1)
        proof = "at one pixel, whatever the input size, there is but one order" if single else ""
        added = new(read, "permuted", "channels_last")
        what = "channels last in front of it"
        yield mutant(network, [flatten.name, added.name], what, network.before(added, flatten.name), proof)


@operator
def output_changed(network: Network) -> Iterator[Mutant]:
    """Probabilities instead of logits."""
    for kind in ("softmax", "log_softmax", "sigmoid"):
        added = new(network.step(network.output), kind, kind)
        yield mutant(network, [added.name], "added at the end", network.after(added))


@operator
def input_changed(network: Network) -> Iterator[Mutant]:
    """The input scaled, or with its channels in the other order."""
    scaled = Step("input_scale", "scale", (INPUT,), (("by", 1 / 255),))
    for step in (scaled, Step("input_flip", "reversed_channels", (INPUT,))):
        yield mutant(network, [step.name], step.kind, network.after(step))


# Dropout and other noise.


@operator
def dropout_changed(network: Network) -> Iterator[Mutant]:
    """Another rate, whole rows instead of values, in eval too, none."""
    for step in chosen(network, "dropout"):
        others = [step.changed(p=p) for p in (0.1, 0.9)] + [step.into("dropout1d", p=step["p"])]
        for other in (*others, step.into("always_dropout", p=step["p"])):
            yield mutant(network, [step.name], f"{other.kind} {other['p']}", network.put(other))
        yield mutant(network, [step.name], "removed", network.drop(step.name))


@operator
def dropout_moved(network: Network) -> Iterator[Mutant]:
    """Dropout behind the next layer, or in front of the one before."""
    for step in chosen(network, "dropout"):
        bare = network.drop(step.name)
        for other in of_kind(network.readers(step.name), *WEIGHTED):
            moved = replace(step, inputs=(other.name,))
            yield mutant(network, [step.name, other.name], f"moved behind {other.name}", bare.after(moved))
        before = network.step(step.inputs[0])
        while before.kind not in WEIGHTED:
            before = network.step(before.inputs[0])
        moved = replace(step, inputs=before.inputs)
        what = f"moved in front of {before.name}"
        yield mutant(network, [step.name, before.name], what, bare.before(moved, before.name))


@operator
def dropout_added(network: Network) -> Iterator[Mutant]:
    """Dropout of values or of channels behind an activation, and in front of the last layer."""
    last = network.step(network.step(network.output).inputs[0])
    for step in dict.fromkeys([*chosen(network, *ACTIVATIONS), last]):
        for kind in ("dropout", "dropout2d", "always_dropout"):
            if kind != "dropout2d" or is_image(network, step.name):
                added = new(step, kind, kind, p=0.2)
                yield mutant(network, [added.name], "added", network.after(added))


@operator
def stochastic_depth(network: Network) -> Iterator[Mutant]:
    """A main branch that is dropped now and then in training."""
    for _, total in residual_blocks(network):
        added = new(network.step(total.inputs[0]), "drop", "stochastic_depth", p=0.1)
        yield mutant(network, [added.name], "stochastic depth added", network.before(added, total.name))


# Order.


@operator
def neighbours_swapped(network: Network) -> Iterator[Mutant]:
    """Two steps that follow one another in the other order."""
    proofs = {
        frozenset({"relu", "maxpool"}): "the maximum of what is rectified is the rectified maximum",
        frozenset({"relu", "dropout"}): "a factor of 0 or more goes through a relu, and the same noise is drawn",
    }
    for one in chosen(network):
        readers = network.readers(one.name)
        if len(readers) != 1 or len(readers[0].inputs) != 1 or len(one.inputs) != 1:
            continue
        other = readers[0]
        proof = proofs.get(frozenset({one.kind, other.kind}), "")
        if (one.kind, one.arguments) == (other.kind, other.arguments):
            continue
        mutated = network.drop(one.name).after(replace(one, inputs=(other.name,)))
        yield mutant(network, [one.name, other.name], f"swapped with {other.name}", mutated, proof)


@operator
def result_unused(network: Network) -> Iterator[Mutant]:
    """A step whose result nobody reads: its input goes on instead. A relu in place rectifies that all the same."""
    for step in chosen(network, *ACTIVATIONS, "batchnorm", "dropout"):
        passed = network.redirect(step.name, step.inputs[0])
        yield mutant(network, [step.name], "its result is not used", passed)
        if step.kind == "relu":
            mutated = passed.put(step.changed(inplace=True))
            proof = "it is in place, so that its input is its result"
            yield mutant(network, [step.name], "in place, its result is not used", mutated, proof)


@operator
def branch_cut_short(network: Network) -> Iterator[Mutant]:
    """A later conv of a branch that takes the block's input: what comes before is computed for nothing."""
    for block in chosen_blocks(network):
        convs = of_kind(block.main, "conv")
        for conv in convs[1:]:
            mutated = network.retarget(conv.name, 0, block.reads)
            dead = names_of(block.main[: block.main.index(conv)])
            what = f"reads the input of {block.name}"
            yield mutant(network, [conv.name, *dead], what, mutated)


# Skips.


@operator
def skip_removed(network: Network) -> Iterator[Mutant]:
    """No sum: one branch alone goes on."""
    for block, total in residual_blocks(network):
        skip = names_of(block.skip)
        for slot, branch in enumerate((skip, names_of(block.main))):
            passed = network.redirect(total.name, total.inputs[slot])
            what = "skip" if slot == 0 else "main branch"
            dead = [total.name, *reversed(branch)]
            mutated = passed.with_steps(step for step in passed.steps if step.name not in dead)
            yield mutant(network, dead, f"{what} removed", mutated)
        if skip:
            mutated = network.redirect(total.name, total.inputs[0]).drop(total.name)
            yield mutant(network, [total.name, *skip], "projection computed, not added", mutated)


@operator
def skip_added(network: Network) -> Iterator[Mutant]:
    """A sum with the block's input: behind the block, in front of its last activation, or around a single step."""
    for block in chosen_blocks(network):
        end = end_of(network, block)
        for step in dict.fromkeys([end, network.step(end.inputs[0])]):
            added = new(step, "sum", "sum", step.name, block.reads)
            yield mutant(network, [added.name], f"skip added around {block.name}", _summed(network, added))
    for step in chosen(network, *WEIGHTED):
        added = new(step, "sum", "sum", step.name, step.inputs[0])
        yield mutant(network, [added.name], "skip added around it", _summed(network, added))


def _summed(network: Network, added: Step) -> Network:
    """The network with a new sum behind what it reads first; who read that reads the sum."""
    mutated = network.redirect(added.inputs[0], added.name)
    at = network.index[added.inputs[0]] + 1
    following = network.steps[at].name if at < len(network.steps) else ""
    return mutated.insert(added, before=following)


@operator
def identity_projected(network: Network) -> Iterator[Mutant]:
    """A projection in place of an identity, with a norm and without, or only a norm."""
    for block, total in residual_blocks(network):
        if block.skip:
            continue
        out = network.shapes[total.name][0]
        name = f"{block.name}.shortcut"
        arguments = (("bias", False), ("kernel", (1, 1)), ("out", out))
        conv = Step(f"{name}.0", "conv", (block.reads,), arguments, block.name, block.stage)
        norm = Step(f"{name}.1", "batchnorm", (conv.name,), (), block.name, block.stage)
        for steps in ((conv, norm), (conv,), (replace(norm, inputs=(block.reads,)),)):
            mutated = network.insert(*steps, before=total.name).retarget(total.name, 1, steps[-1].name)
            what = f"identity replaced by {' and '.join(step.kind for step in steps)}"
            yield mutant(network, [total.name, *names_of(steps)], what, mutated)


@operator
def projection_replaced(network: Network) -> Iterator[Mutant]:
    """The identity in place of a projection: plain, or padded with zeros (option A), or an average in front of it."""
    for block, total in residual_blocks(network):
        convs = of_kind(block.skip, "conv")
        if not convs:
            continue
        names, conv = names_of(block.skip), convs[0]
        cut = network.retarget(total.name, 1, block.reads)
        bare = cut.with_steps(step for step in cut.steps if step.name not in names)
        yield mutant(network, [total.name, *names], "projection replaced by the identity", bare)
        stride = conv["stride"][0]
        padded = new(total, "padded", "padded_identity", block.reads, out=conv["out"], stride=stride)
        what = "projection replaced by the padded identity"
        yield mutant(network, [total.name, *names], what, bare.before(padded, total.name, 1))
        if stride > 1:
            size = (stride, stride)
            pool = new(conv, "pool", "avgpool", block.reads, kernel=size, stride=size, ceil_mode=True)
            mutated = network.put(conv.changed(stride=(1, 1))).before(pool, conv.name)
            yield mutant(network, [conv.name, pool.name], "average pool instead of the stride", mutated)


@operator
def residual_from_elsewhere(network: Network) -> Iterator[Mutant]:
    """A skip that reads the input of the block before, or a value within the main branch."""
    blocks = [*network.blocks]
    for block, total in residual_blocks(network):
        first = block.skip[0].name if block.skip else total.name
        slot = 0 if block.skip else 1
        at = blocks.index(block)
        values = [blocks[at - 1].reads] if at else []
        values += [step.name for step in block.main if step.name != total.inputs[0]] if not block.skip else []
        for value in values:
            mutated = network.retarget(first, slot, value)
            yield mutant(network, [total.name, first], f"residual taken from {value}", mutated)


@operator
def inplace_corrupts_residual(network: Network) -> Iterator[Mutant]:
    """In-place ops on a value that another step reads as well, and should have found as it was.

    A skip that reads a norm's output, which an in-place relu overwrites; a block whose first op overwrites its input.
    """
    for block, total in residual_blocks(network):
        if block.skip:
            continue
        for relu in of_kind(block.main, "relu"):
            mutated = network.put(relu.changed(inplace=True)).retarget(total.name, 1, relu.inputs[0])
            what = f"residual taken from {relu.inputs[0]}, which {relu.name} overwrites"
            yield mutant(network, [total.name, relu.name], what, mutated)
    for block in network.blocks:
        read = block.reads
        if block.sum and (read == INPUT or network.step(read).kind == "maxpool"):  # a relu's gradient needs its output
            first = block.main[0]
            added = new(first, "silu", "silu", read, inplace=True)
            steps = [first.name, block.sum.name, added.name, *names_of(block.skip)]
            yield mutant(network, steps, "input overwritten by a silu", network.before(added, first.name))


@operator
def inplace_breaks_training(network: Network) -> Iterator[Mutant]:
    """The sum made in the block's input, which the first conv's gradient needs: right in eval, an error in backward."""
    for block, total in residual_blocks(network):
        if not block.skip:
            mutated = network.put(replace(total, kind="sum_in_place", inputs=total.inputs[::-1]))
            yield mutant(network, [total.name], "sum made in the block's input", mutated)


@operator
def branch_added_twice(network: Network) -> Iterator[Mutant]:
    """One branch twice in the sum."""
    for _, total in residual_blocks(network):
        for slot, value in enumerate(total.inputs):
            mutated = network.put(replace(total, inputs=(*total.inputs, value)))
            yield mutant(network, [total.name], f"branch {slot} added twice", mutated)


@operator
def branches_swapped(network: Network) -> Iterator[Mutant]:
    """The branches of a sum in the other order."""
    for _, total in residual_blocks(network):
        mutated = network.put(replace(total, inputs=total.inputs[::-1]))
        yield mutant(network, [total.name], "branches swapped", mutated, "addition of two numbers commutes")


@operator
def sum_changed(network: Network) -> Iterator[Mutant]:
    """A product or a maximum in place of a sum."""
    for _, total in residual_blocks(network):
        for kind in ("product", "maximum"):
            yield mutant(network, [total.name], kind, network.put(replace(total, kind=kind)))


@operator
def branch_scaled(network: Network) -> Iterator[Mutant]:
    """A branch, or the sum, times one half."""
    for _, total in residual_blocks(network):
        for slot, value in enumerate(total.inputs):
            added = new(total, f"scale{slot}", "scale", value, by=0.5)
            mutated = network.before(added, total.name, slot)
            yield mutant(network, [total.name, added.name], f"branch {slot} scaled by 0.5", mutated)
        added = new(total, "scale", "scale", by=0.5)
        yield mutant(network, [total.name, added.name], "scaled by 0.5", network.after(added))


@operator
def branch_detached(network: Network) -> Iterator[Mutant]:
    """A branch that lets no gradient through."""
    for _, total in residual_blocks(network):
        for slot, value in enumerate(total.inputs):
            added = new(total, f"detach{slot}", "detach", value)
            mutated = network.before(added, total.name, slot)
            yield mutant(network, [total.name, added.name], f"branch {slot} detached", mutated)


# Whole blocks.


@operator
def block_repeated(network: Network) -> Iterator[Mutant]:
    """A block once more."""
    for block in chosen_blocks(network):
        mutated, last = network, network.index[block.steps[-1].name]
        following = network.steps[last + 1].name if last + 1 < len(network.steps) else ""
        names = {step.name: _again(step.name, block) for step in block.steps}
        copies = [
            replace(step, name=names[step.name], inputs=tuple(names.get(v, block.gives) for v in step.inputs))
            for step in block.steps
        ]
        mutated = network.redirect(block.gives, names[block.gives]).insert(*copies, before=following)
        steps = [*names_of(block.steps), *names.values(), *_names_of_run(network, block)]
        yield mutant(network, steps, f"{block.name} repeated once more", mutated)


def _again(name: str, block: Block) -> str:
    """The name of a step in the copy of its block: beside the block, or beside the step where that has no part."""
    return f"{block.name}_again{name.removeprefix(block.name)}" if block.name != name else f"{name}_again"


def _names_of_run(network: Network, block: Block) -> list[str]:
    return [step.name for equal in run_of(network, block) for step in equal.steps]


@operator
def block_lost(network: Network) -> Iterator[Mutant]:
    """A block less."""
    for block in chosen_blocks(network):
        yield mutant(
            network, _names_of_run(network, block), f"{block.name} lost", _without(network, block.steps, block.reads)
        )


@operator
def stage_lost(network: Network) -> Iterator[Mutant]:
    """A stage less."""
    for stage in dict.fromkeys(step.stage for step in network.steps if step.stage):
        steps = [step for step in network.steps if step.stage == stage]
        yield mutant(network, names_of(steps), f"stage {stage} lost", _without(network, steps, steps[0].inputs[0]))


def _without(network: Network, steps: Iterable[Step], value: str) -> Network:
    """Without a stretch of the flow; who read of it reads what it read."""
    names = names_of(steps)
    for name in names:
        network = network.redirect(name, value, but=names)
    return network.with_steps(step for step in network.steps if step.name not in names)


# Modules and parameters.


@operator
def module_shared(network: Network) -> Iterator[Mutant]:
    """One module, or one set of parameters, in two places where equal ones should stand."""
    for one, other in _equal_layers(network):
        for how in ("shares", "ties"):
            what = f"{'module' if how == 'shares' else 'parameters'} of {one.name}"
            yield mutant(network, [other.name, one.name], what, network.put(replace(other, **{how: one.name})))


def _equal_layers(network: Network) -> Iterator[tuple[Step, Step]]:
    """Pairs of equal layers: in a block, in blocks that follow one another, at both ends of a run of equal blocks."""
    for block in chosen_blocks(network):
        for kind in WITH_PARAMETERS:
            for one, other in pairwise(of_kind(block.main, kind)):
                if (
                    one.arguments == other.arguments
                    and network.shapes[one.inputs[0]] == network.shapes[other.inputs[0]]
                ):
                    yield one, other
        run = run_of(network, block)
        at = [equal.name for equal in run].index(block.name)
        pairs = [(run[at - 1], block)] if at else [(block, run[1])] if len(run) > 1 else []
        pairs += [(run[0], run[-1])] if len(run) > 2 else []
        for first, second in pairs:
            for one, other in zip(first.steps, second.steps, strict=True):
                if one.kind in WITH_PARAMETERS:
                    yield one, other


@operator
def block_shared(network: Network) -> Iterator[Mutant]:
    """One instance of a block in place of two that follow one another, or of a whole run ([block] * n)."""
    for block in chosen_blocks(network):
        run = run_of(network, block)
        at = max([equal.name for equal in run].index(block.name), 1)
        for blocks in dict.fromkeys([tuple(run[at - 1 : at + 1]), tuple(run)]):
            if len(blocks) < 2:
                continue
            first, *others = blocks
            shared = [
                replace(step, shares=own.name)
                for other in others
                for own, step in zip(first.steps, other.steps, strict=True)
                if own.kind in WITH_PARAMETERS
            ]
            if shared:
                what = f"one instance in {len(blocks)} places"
                names = [step.name for used in blocks for step in used.steps]
                yield mutant(network, names, what, network.put(*shared))


@operator
def unused_layer(network: Network) -> Iterator[Mutant]:
    """A layer or a parameter that is registered and never used."""
    for step in chosen(network, *WITH_PARAMETERS):
        added = replace(step, name=f"{step.name}_unused", called=False)
        yield mutant(network, [step.name, added.name], f"another {step.kind}, never used", _registered(network, added))
    for step in (network.steps[0], network.step(network.output)):
        added = replace(new(step, "scale", "parameter", step.inputs[0]), called=False)
        yield mutant(network, [step.name, added.name], "a parameter, never used", _registered(network, added))


def _registered(network: Network, added: Step) -> Network:
    """The network with a step that is never called, in front of the one beside which it stands."""
    return network.insert(added, before=added.name.rpartition("_")[0])


@operator
def layer_unregistered(network: Network) -> Iterator[Mutant]:
    """A layer in a plain list: the module does not know of its parameters."""
    for step in chosen(network, *WITH_PARAMETERS):
        yield mutant(network, [step.name], "not registered", network.put(replace(step, registered=False)))
