"""The normal form of an op graph: equal computations, one way to write them.

A rule takes an operation that is about to be made and gives what stands for it instead, or None. Most are true for
every input; those marked `AT_THIS_SIZE` at the sizes at hand: that a pool over 7x7 is a mean holds on a map of 7x7.
Networks are compared without these first, and then at several sizes. tests/unit/graphs/test_rules.py proves each rule
numerically.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import isclose, prod
from typing import Any

from rv_check.graphs.builder import Builder, Form, Part, reshaped, rule, sliced, split_of, state_of
from rv_check.graphs.graph import Node, State, TensorShape

ELEMENTWISE = ("relu", "silu", "sigmoid", "dropout", "scale")  # functions of a value alone, element by element


# Moving elements


@rule("", "flatten")
def flatten(b: Builder, node: Node) -> Node | None:
    """A flatten is a reshape."""
    return b.reshape(node.inputs[0], node.shape)


@rule("", "reshape")
def reshape_to_the_same(b: Builder, node: Node) -> Node | None:
    """A reshape to the shape that is there does nothing."""
    return node.inputs[0] if node.shape == node.inputs[0].shape else None


@rule("", "reshape")
def reshape_of_reshape(b: Builder, node: Node) -> Node | None:
    """Of two reshapes the last one counts: both keep the order of elements."""
    (inner,) = node.inputs
    return b.reshape(inner.inputs[0], node.shape, node) if inner.kind == "reshape" else None


@rule("", "permute")
def permute_of_ones(b: Builder, node: Node) -> Node | None:
    """Moving only axes of size 1 past others keeps the order of elements: a reshape."""
    (x,) = node.inputs
    kept = [axis for axis in node.attributes["axes"] if x.shape[axis] != 1]
    return b.reshape(x, node.shape, node) if kept == sorted(kept) else None


@rule("", "permute")
def permute_of_permute(b: Builder, node: Node) -> Node | None:
    """Two permutations are one."""
    (inner,) = node.inputs
    if inner.kind != "permute":
        return None
    first, second = inner.attributes["axes"], node.attributes["axes"]
    axes = tuple(first[axis] for axis in second)
    return b.make("permute", inner.inputs[0], shape=node.shape, like=node, axes=axes)


@rule("", "slice")
def slice_of_all(b: Builder, node: Node) -> Node | None:
    """A slice of everything does nothing."""
    return node.inputs[0] if node.shape == node.inputs[0].shape else None


@rule("", "concat")
def concat_of_all_slices(b: Builder, node: Node) -> Node | None:
    """A value cut along an axis and put together again is the value."""
    axis, parts = node.attributes["axis"], node.inputs
    if any(part.kind != "slice" for part in parts):
        return None
    (x,) = parts[0].inputs
    at = 0
    for part in parts:
        a = part.attributes
        if part.inputs[0] is not x or a["axis"] != axis or a["step"] != 1 or a["start"] != at:
            return None
        at = a["stop"]
    return x if at == x.shape[axis] else None


@rule("", "concat")
def concat_of_concat(b: Builder, node: Node) -> Node | None:
    """Joining along one axis step by step or at once is the same; of one value it does nothing."""
    axis = node.attributes["axis"]
    if len(node.inputs) == 1:
        return node.inputs[0]
    flat: list[Node] = []
    for x in node.inputs:
        flat += x.inputs if x.kind == "concat" and x.attributes["axis"] == axis else [x]
    if len(flat) == len(node.inputs):
        return None
    return b.make("concat", *flat, shape=node.shape, like=node, axis=axis)


@rule("", "pad_channels")
def channels_of_zeros(b: Builder, node: Node) -> Node | None:
    """Zeros before and after the channels."""
    (x,) = node.inputs
    before = node.attributes["before"]
    return _with_zeros(b, node, x, before, node.shape[1] - x.shape[1] - before)


@rule("zeros, as finite numbers times 0, joined to channels are padding", "concat")
def concat_of_zeros(b: Builder, node: Node) -> Node | None:
    """Channels of zeros before or after others, be they made as such or of the input times 0."""
    if node.attributes["axis"] != 1 or len(node.shape) != 4:
        return None
    parts = list(node.inputs)
    before = after = 0
    while parts and _is_zero(parts[0]):
        before += parts.pop(0).shape[1]
    while parts and _is_zero(parts[-1]):
        after += parts.pop().shape[1]
    if not parts or not before + after:
        return None
    shape = (node.shape[0], node.shape[1] - before - after, *node.shape[2:])
    x = b.make("concat", *parts, shape=shape, like=node, axis=1)
    return _with_zeros(b, node, x, before, after)


def _is_zero(node: Node) -> bool:
    return node.attributes.get({"constant": "value", "scale": "by"}.get(node.kind, "")) == 0


def _with_zeros(b: Builder, node: Node, x: Node, before: int, after: int) -> Node:
    if not before and not after:
        return x
    sides = ((0, 0), (before, after), (0, 0), (0, 0))
    return b.make("pad", x, shape=node.shape, like=node, sides=sides, value=0.0)


@rule("an elementwise function before a reshape as after it", *ELEMENTWISE)
def elementwise_before_reshape(b: Builder, node: Node) -> Node | None:
    """A function of single elements does not care for the shape: f(reshape(x)) = reshape(f(x))."""
    if node.kind == "dropout" and node.attributes["of"] != "elements":
        return None
    (x,) = node.inputs
    if x.kind != "reshape":
        return None
    inner = x.inputs[0]
    return b.reshape(b.make(node.kind, inner, shape=inner.shape, like=node, arguments=node.attributes), node.shape, x)


@rule("an addition or product before a reshape as after it", "sum", "product")
def join_before_reshape(b: Builder, node: Node) -> Node | None:
    """Element by element, the shape does not matter, where all have the same one before and after."""
    if any(x.kind != "reshape" or x.shape != node.shape for x in node.inputs):
        return None
    inner = [x.inputs[0] for x in node.inputs]
    if len({x.shape for x in inner}) != 1 or any(x.fixed for x in inner):
        return None
    return b.reshape(b.make(node.kind, *inner, shape=inner[0].shape, like=node), node.shape, node.inputs[0])


# Pools


@rule("", "adaptive_avgpool")
def adaptive_to_one(b: Builder, node: Node) -> Node | None:
    """The one window of an adaptive pool to 1x1 is the map."""
    if node.attributes["out"] != (1, 1):
        return None
    return b.make("global_avgpool", *node.inputs, shape=node.shape, like=node)


@rule("a pool to the size that is there does nothing", "adaptive_avgpool", form=Form.AT_THIS_SIZE)
def adaptive_to_the_same(b: Builder, node: Node) -> Node | None:
    """Each window of an adaptive pool to the input's own size is one element."""
    return node.inputs[0] if node.shape == node.inputs[0].shape else None


@rule("an adaptive pool that divides evenly is a pool with a fixed kernel", "adaptive_avgpool", form=Form.AT_THIS_SIZE)
def adaptive_that_divides(b: Builder, node: Node) -> Node | None:
    """Where the output size divides the input size, window i begins at i*in/out and is in/out long."""
    sides, out = node.inputs[0].shape[2:], node.shape[2:]
    if any(side % n for side, n in zip(sides, out, strict=True)):
        return None
    kernel = tuple(side // n for side, n in zip(sides, out, strict=True))
    return b.make("avgpool", node.inputs[0], shape=node.shape, like=node, **pool_arguments(kernel))


def pool_arguments(kernel: tuple[int, ...]) -> dict[str, Any]:
    """The arguments of an average pool whose windows lie side by side."""
    return {"kernel": kernel, "stride": kernel, "padding": (0, 0), "ceil_mode": False, "count_include_pad": True}


@rule("a pool over the whole map is a mean", "avgpool", form=Form.AT_THIS_SIZE)
def avgpool_of_everything(b: Builder, node: Node) -> Node | None:
    """One window that covers the map, no padding counted: the mean of each channel. On a map of 1x1, the map itself."""
    (x,) = node.inputs
    if node.attributes["kernel"] != x.shape[2:] or node.shape[2:] != (1, 1) or any(node.attributes["padding"]):
        return None
    if node.attributes.get("divisor") is not None:
        return None
    return b.make("global_avgpool", x, shape=node.shape, like=node)


@rule("", "avgpool")
def padding_that_is_not_there(b: Builder, node: Node) -> Node | None:
    """Without padding, and without windows that hang over, it does not matter whether padding counts."""
    if any(node.attributes["padding"]) or node.attributes["count_include_pad"]:
        return None
    return b.make(
        "avgpool", *node.inputs, shape=node.shape, like=node, **{**node.attributes, "count_include_pad": True}
    )


@rule("a pool of single elements does nothing", "avgpool", "maxpool")
def pool_of_single_elements(b: Builder, node: Node) -> Node | None:
    """A window of one element at every place."""
    a = node.attributes
    single = a["kernel"] == a["stride"] == (1, 1) and not any(a["padding"]) and a.get("divisor") is None
    return node.inputs[0] if single else None


@rule("the mean of a map of 1x1 is the map", "global_avgpool", form=Form.OF_ONE)
def mean_of_one(b: Builder, node: Node) -> Node | None:
    """The mean of one number."""
    return node.inputs[0] if node.inputs[0].shape[2:] == (1, 1) else None


@rule("", "mean")
def mean_over_the_map(b: Builder, node: Node) -> Node | None:
    """mean(x, rows and columns) that keeps the axes: how torch itself writes an adaptive pool to 1x1."""
    (x,) = node.inputs
    if node.attributes["axes"] != (2, 3) or node.shape != (*x.shape[:2], 1, 1):
        return None
    return b.make("global_avgpool", x, shape=node.shape, like=node)


@rule("a mean over rows and columns is a global pool", "mean")
def mean_that_drops_the_axes(b: Builder, node: Node) -> Node | None:
    """mean(x, rows and columns), the axes dropped; also of a map whose pixels stand in one axis."""
    (x,) = node.inputs
    axes = node.attributes["axes"]
    if x.kind == "reshape" and len(x.shape) == 3 and axes == (2,):
        inner = x.inputs[0]
        if len(inner.shape) == 4 and inner.shape[:2] == x.shape[:2]:
            x, axes = inner, (2, 3)
    if len(x.shape) != 4 or axes != (2, 3):
        return None
    pooled = b.make("global_avgpool", x, shape=(*x.shape[:2], 1, 1), like=node)
    return b.reshape(pooled, node.shape, node)


@rule("the mean of rows of the mean of columns is the mean of all", "mean")
def mean_of_mean(b: Builder, node: Node) -> Node | None:
    """Windows of one size: the mean of their means is the mean."""
    (inner,) = node.inputs
    if inner.kind == "reshape":
        (inner,) = inner.inputs
    if inner.kind != "mean" or len(inner.inputs[0].shape) != 4:
        return None
    (x,) = inner.inputs
    left = [axis for axis in range(4) if axis not in inner.attributes["axes"]]
    given = node.inputs[0].shape
    if given == tuple(x.shape[axis] for axis in left):
        own = {left[axis] for axis in node.attributes["axes"]}
    elif given == tuple(1 if axis in inner.attributes["axes"] else x.shape[axis] for axis in range(4)):
        own = set(node.attributes["axes"])
    else:
        return None
    axes = tuple(sorted({*inner.attributes["axes"], *own}))
    return b.make("mean", x, shape=node.shape, like=node, axes=axes)


@rule("", "mean", "total")
def reduction_of_permute(b: Builder, node: Node) -> Node | None:
    """Which axes are reduced counts, not where they stand, as long as those that are left keep their order."""
    (x,) = node.inputs
    if x.kind != "permute":
        return None
    order = x.attributes["axes"]
    left = [order[axis] for axis in range(len(order)) if axis not in node.attributes["axes"]]
    if left != sorted(left) or len(node.shape) != len(left):
        return None
    axes = tuple(sorted(order[axis] for axis in node.attributes["axes"]))
    return b.make(node.kind, x.inputs[0], shape=node.shape, like=node, axes=axes)


@rule("", "total")
def total_of_total(b: Builder, node: Node) -> Node | None:
    """The total of rows of the total of columns is the total of all."""
    (inner,) = node.inputs
    if inner.kind != "total":
        return None
    (x,) = inner.inputs
    left = [axis for axis in range(len(x.shape)) if axis not in inner.attributes["axes"]]
    if inner.shape != tuple(x.shape[axis] for axis in left):
        return None
    axes = tuple(sorted({*inner.attributes["axes"], *(left[axis] for axis in node.attributes["axes"])}))
    return b.make("total", x, shape=node.shape, like=node, axes=axes)


@rule("a total divided by the number of terms is a mean", "scale")
def scaled_total(b: Builder, node: Node) -> Node | None:
    """sum(x) / n."""
    (x,) = node.inputs
    total = x.inputs[0] if x.kind == "reshape" else x
    if total.kind != "total":
        return None
    terms = prod(total.inputs[0].shape[axis] for axis in total.attributes["axes"])
    if not isclose(node.attributes["by"] * terms, 1, rel_tol=1e-12):
        return None
    return b.make("mean", total.inputs[0], shape=node.shape, like=node, axes=total.attributes["axes"])


@rule("(1 - z) x + z y is x + z (y - x)", "sum")
def interpolation(b: Builder, node: Node) -> Node | None:
    """x - z x + z y: the gate of a recurrent cell, as it is printed and as torch computes it."""
    if [x.kind for x in node.inputs] != ["product", "product"] or any(len(x.inputs) != 2 for x in node.inputs):
        return None
    for one, other in (node.inputs, node.inputs[::-1]):
        for (rest, x), (z, y) in product(_both_ways(one), _both_ways(other)):
            if _is_one_less(rest, z) and x.shape == y.shape == node.shape:
                return _between(b, x, y, z, node)
    return None


@rule("(1 - z) x + z y is x + z (y - x)", "lerp")
def interpolation_by_torch(b: Builder, node: Node) -> Node | None:
    """Its definition, where start and end are as large as the result."""
    if len(node.inputs) != 3 or any(x.shape != node.shape for x in node.inputs[:2]):
        return None
    return _between(b, *node.inputs, node)


def _between(b: Builder, x: Node, y: Node, z: Node, node: Node) -> Node:
    """x + z (y - x)."""
    less = b.make("scale", x, shape=x.shape, like=node, by=-1)
    step = b.make("product", z, b.make("sum", y, less, shape=y.shape, like=node), shape=node.shape, like=node)
    return b.make("sum", x, step, shape=node.shape, like=node)


def _both_ways(node: Node) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    return node.inputs, node.inputs[::-1]


def _is_one_less(rest: Node, z: Node) -> bool:
    """Whether it is 1 - z."""
    if rest.kind != "shift" or rest.attributes["by"] != 1:
        return False
    (less,) = rest.inputs
    return less.kind == "scale" and less.attributes["by"] == -1 and less.inputs[0] is z


# Activations


@rule("the relu of what is not negative does nothing", "relu")
def relu_of_nonnegative(b: Builder, node: Node) -> Node | None:
    """max(x, 0) = x where x >= 0."""
    return node.inputs[0] if node.inputs[0].nonnegative else None


@rule("relu and max-pool commute", "relu")
def relu_before_maxpool(b: Builder, node: Node) -> Node | None:
    """relu is monotone, so the largest of the relus is the relu of the largest; every window holds an element."""
    (pool,) = node.inputs
    if pool.kind != "maxpool":
        return None
    (x,) = pool.inputs
    return b.make(
        "maxpool", b.make("relu", x, shape=x.shape, like=node), shape=pool.shape, like=pool, arguments=pool.attributes
    )


@rule("relu and dropout commute", "relu")
def relu_before_dropout(b: Builder, node: Node) -> Node | None:
    """Dropout multiplies by 0 or by a positive number, and relu(c*x) = c*relu(x) for c >= 0."""
    (drop,) = node.inputs
    if drop.kind != "dropout" or drop.attributes.get("scale", 1) < 0:
        return None
    (x,) = drop.inputs
    inner = b.make("relu", x, shape=x.shape, like=node)
    return b.make("dropout", inner, shape=drop.shape, like=drop, arguments=drop.attributes)


@rule("x * sigmoid(x) is silu(x)", "product")
def silu(b: Builder, node: Node) -> Node | None:
    """By its definition (Elfwing et al. 2017, arXiv:1702.03118)."""
    if len(node.inputs) != 2:
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        if gate.kind == "sigmoid" and gate.inputs[0] is x:
            return b.make("silu", x, shape=node.shape, like=node)
    return None


@rule("finite x where it is above 0, and 0 elsewhere, is relu(x)", "product")
def masked_relu(b: Builder, node: Node) -> Node | None:
    """The product with what is 1 where x is above 0, as a truth value or as a number."""
    if len(node.inputs) != 2:
        return None
    for x, factor in (node.inputs, node.inputs[::-1]):
        mask = factor.inputs[0] if factor.kind == "cast" and "float" in str(factor.attributes["dtype"]) else factor
        if _is_sign_of(mask, "gt", x):
            return b.make("relu", x, shape=node.shape, like=node)
    return None


@rule("finite x where it is above 0, and 0 elsewhere, is relu(x)", "masked_fill")
def filled_relu(b: Builder, node: Node) -> Node | None:
    """Zeros where x is not above 0. At 0 itself the gradient is 0, as that of relu is."""
    x, mask = node.inputs[:2]
    is_relu = len(node.inputs) == 2 and node.attributes.get("value") == 0 and _is_sign_of(mask, "le", x)
    return b.make("relu", x, shape=node.shape, like=node) if is_relu else None


@rule("finite x where it is above 0, and 0 elsewhere, is relu(x)", "where")
def chosen_relu(b: Builder, node: Node) -> Node | None:
    """One of x and 0, by the sign of x."""
    if len(node.inputs) != 3:
        return None
    mask, one, other = node.inputs
    for kind, x, zero in (("gt", one, other), ("le", other, one)):
        is_zero = zero.kind == "constant" and zero.attributes["value"] == 0
        if is_zero and x.shape == node.shape and _is_sign_of(mask, kind, x):
            return b.make("relu", x, shape=node.shape, like=node)
    return None


def _is_sign_of(mask: Node, kind: str, x: Node) -> bool:
    """Whether it compares that value with 0."""
    return mask.kind == kind and mask.inputs == (x,) and mask.attributes.get("other") == 0


@rule("", "scale", "shift")
def no_scale_and_no_shift(b: Builder, node: Node) -> Node | None:
    """x * 1 and x + 0."""
    nothing = node.attributes["by"] == (1 if node.kind == "scale" else 0)
    return node.inputs[0] if nothing else None


@rule("", "scale")
def scale_of_scale(b: Builder, node: Node) -> Node | None:
    """Two factors are one."""
    (x,) = node.inputs
    if x.kind != "scale":
        return None
    return b.make("scale", *x.inputs, shape=node.shape, like=node, by=x.attributes["by"] * node.attributes["by"])


@rule("", "drop_path")
def drop_path(b: Builder, node: Node) -> Node | None:
    """Dropout of whole images."""
    return b.make("dropout", *node.inputs, shape=node.shape, like=node, arguments=node.attributes)


@rule("", "dropout")
def dropout_of_nothing(b: Builder, node: Node) -> Node | None:
    """A rate of 0 drops nothing."""
    return node.inputs[0] if node.attributes["p"] == 0 else None


@rule("", "dropout")
def dropout_of_scale(b: Builder, node: Node) -> Node | None:
    """A mask's scale may be applied before it."""
    (scaled,) = node.inputs
    if scaled.kind != "scale" or "scale" not in node.attributes:
        return None
    drop = b.make("dropout", *scaled.inputs, shape=node.shape, like=node, arguments=node.attributes)
    return b.make("scale", drop, shape=node.shape, like=node, by=scaled.attributes["by"])


@rule("", "scale")
def scale_of_dropout(b: Builder, node: Node) -> Node | None:
    """A mask's scale may be applied with it or after it."""
    (drop,) = node.inputs
    if drop.kind != "dropout" or "scale" not in drop.attributes:
        return None
    left = drop.attributes["scale"] * node.attributes["by"]
    kept = {name: value for name, value in drop.attributes.items() if name != "scale"}
    scale = {} if isclose(left * (1 - drop.attributes["p"]), 1, rel_tol=1e-6) else {"scale": left}
    return b.make("dropout", *drop.inputs, shape=node.shape, like=drop, **kept, **scale)


# Padding


@rule("zeros around a convolution's input are its padding", "conv")
def padding_before_conv(b: Builder, node: Node) -> Node | None:
    """A convolution pads with zeros."""
    return _padded(b, node, lambda pad: pad.attributes["value"] == 0)


@rule("-inf, or zeros where nothing is negative, around a max-pool's input are its padding", "maxpool")
def padding_before_maxpool(b: Builder, node: Node) -> Node | None:
    """A max-pool pads with -inf; with zeros it gives the same where no element is below 0."""
    if node.attributes["ceil_mode"]:
        return None  # a window may then begin in what is padding, and torch drops it
    return _padded(
        b,
        node,
        lambda pad: (
            pad.attributes["value"] == float("-inf")
            or (pad.attributes["value"] == 0 and pad.inputs[0].nonnegative and not any(node.attributes["padding"]))
        ),
    )


@rule("zeros around a pool's input are its padding", "avgpool")
def padding_before_avgpool(b: Builder, node: Node) -> Node | None:
    """An average pool that counts its padding pads with zeros; one that has none counts all of its windows."""
    a = node.attributes
    if not a["count_include_pad"] or a["ceil_mode"]:
        return None
    return _padded(b, node, lambda pad: pad.attributes["value"] == 0)


def _padded(b: Builder, node: Node, fits: Callable[[Node], bool]) -> Node | None:
    """The operation with the padding before it taken in: the same on both sides of an axis, else no op can say it."""
    (pad, *_) = node.inputs
    if pad.kind != "pad" or not fits(pad):
        return None
    sides = pad.attributes["sides"]  # before and after, for each of the four axes
    rows, columns = sides[2], sides[3]
    if any(map(any, sides[:2])) or rows[0] != rows[1] or columns[0] != columns[1] or min(rows[0], columns[0]) < 0:
        return None
    own = node.attributes["padding"]
    padding = (own[0] + rows[0], own[1] + columns[0])
    if node.kind != "conv" and any(2 * p > k for p, k in zip(padding, node.attributes["kernel"], strict=True)):
        return None
    attributes = {**node.attributes, "padding": padding}
    return b.make(node.kind, *pad.inputs, shape=node.shape, tensors=node.tensors, like=node, **attributes)


# Convolutions and linear layers


@rule("a norm of channels before a reshape of the map as after it", "batchnorm")
def norm_before_reshape(b: Builder, node: Node) -> Node | None:
    """A norm of channels does not care for the shape of what is behind them."""
    (x,) = node.inputs
    if x.kind != "reshape" or x.inputs[0].shape[:2] != x.shape[:2]:
        return None
    inner = x.inputs[0]
    y = b.make("batchnorm", inner, shape=inner.shape, tensors=node.tensors, like=node, arguments=node.attributes)
    return b.reshape(y, node.shape, x)


@rule("every second pixel before a 1x1 convolution is its stride", "conv")
def stride_before_pointwise(b: Builder, node: Node) -> Node | None:
    """A kernel of one element sees one pixel for each output: those that the slice leaves, or those of the stride."""
    a, (x,) = node.attributes, node.inputs
    if a["kernel"] != (1, 1) or any(a["padding"]):
        return None
    stride = list(a["stride"])
    while x.kind == "slice" and x.attributes["axis"] in (2, 3) and _is_stride(x):
        stride[x.attributes["axis"] - 2] *= x.attributes["step"]
        (x,) = x.inputs
    if x is node.inputs[0]:
        return None
    attributes = {**a, "stride": tuple(stride)}
    return b.make("conv", x, shape=node.shape, tensors=node.tensors, like=node, **attributes)


@rule("every second output of a convolution or pool is its stride", "slice")
def stride_after(b: Builder, node: Node) -> Node | None:
    """The outputs that a slice leaves are those of a stride that many times as long."""
    (x,) = node.inputs
    axis = node.attributes["axis"]
    if x.kind not in ("conv", "maxpool", "avgpool") or axis not in (2, 3) or not _is_stride(node):
        return None
    if x.attributes.get("ceil_mode"):
        return None
    stride = list(x.attributes["stride"])
    stride[axis - 2] *= node.attributes["step"]
    attributes = {**x.attributes, "stride": tuple(stride)}
    return b.make(x.kind, *x.inputs, shape=node.shape, tensors=x.tensors, like=x, **attributes)


def _is_stride(node: Node) -> bool:
    a = node.attributes
    return bool(a["start"] == 0 and a["step"] > 1 and a["stop"] == node.inputs[0].shape[a["axis"]])


@rule("a pool of single elements with a stride is a slice", "avgpool", "maxpool")
def strided_pool_of_single_elements(b: Builder, node: Node) -> Node | None:
    """A window of one element at every second place."""
    a, (x,) = node.attributes, node.inputs
    if a["kernel"] != (1, 1) or any(a["padding"]) or a.get("divisor") is not None or a["ceil_mode"]:
        return None
    for axis, step in zip((2, 3), a["stride"], strict=True):
        shape = (*x.shape[:axis], node.shape[axis], *x.shape[axis + 1 :])
        x = b.make("slice", x, shape=shape, like=node, axis=axis, start=0, stop=x.shape[axis], step=step)
    return x


@rule("", "conv")
def dilation_of_one(b: Builder, node: Node) -> Node | None:
    """A kernel of one element has nothing to dilate."""
    a = node.attributes
    dilation = tuple(1 if kernel == 1 else d for kernel, d in zip(a["kernel"], a["dilation"], strict=True))
    if dilation == a["dilation"]:
        return None
    attributes = {**a, "dilation": dilation}
    return b.make("conv", *node.inputs, shape=node.shape, tensors=node.tensors, like=node, **attributes)


@rule("a convolution whose kernel covers the map is a linear layer", "conv", form=Form.AT_THIS_SIZE)
def conv_of_everything(b: Builder, node: Node) -> Node | None:
    """One window over the whole map: every output is a weighted sum of every element."""
    a, (x,), weight = node.attributes, node.inputs, node.tensors["weight"]
    whole = a["kernel"] == x.shape[2:] and not any(a["padding"]) and a["groups"] == 1
    straight = all(d == 1 or k == 1 for d, k in zip(a["dilation"], a["kernel"], strict=True))
    if not whole or not straight or not isinstance(weight, State):
        return None
    features = prod(x.shape[1:])
    flat = reshaped(weight, (a["out"], features))
    y = b.make(
        "linear",
        b.reshape(x, (x.shape[0], features), node),
        shape=(x.shape[0], a["out"]),
        tensors={**node.tensors, "weight": flat},
        like=node,
        out=a["out"],
    )
    return b.reshape(y, node.shape, node)


@rule("a linear layer over the channels of every pixel is a 1x1 convolution", "permute")
def linear_over_channels(b: Builder, node: Node) -> Node | None:
    """(N, H, W, C) times (C, out), moved back to (N, out, H, W)."""
    (y,) = node.inputs
    if node.attributes["axes"] != (0, 3, 1, 2):
        return None
    linear = y.inputs[0] if y.kind == "reshape" else y
    if linear.kind != "linear":
        return None
    x = linear.inputs[0].inputs[0] if linear.inputs[0].kind == "reshape" else linear.inputs[0]
    n, out, h, w = node.shape
    if x.kind != "permute" or x.attributes["axes"] != (0, 2, 3, 1) or x.shape[:3] != (n, h, w) or y.shape[-1] != out:
        return None
    return _pointwise(b, linear, x.inputs[0], node.shape)


@rule("a matrix times every pixel is a 1x1 convolution", "reshape")
def matrix_times_pixels(b: Builder, node: Node) -> Node | None:
    """(out, C) times (N, C, H*W), in the shape (N, out, H, W)."""
    (y,) = node.inputs
    if y.kind != "matmul" or len(node.shape) != 4 or len(y.shape) != 3 or node.shape[:2] != y.shape[:2]:
        return None
    weight, pixels = y.inputs
    matrix = weight.inputs[0] if weight.kind == "expand" else weight
    while matrix.kind in ("reshape", "expand") and matrix.shape[0] == 1:
        matrix = matrix.inputs[0]
    state = state_of(matrix)
    x = pixels.inputs[0] if pixels.kind == "reshape" else pixels
    fits = len(x.shape) == 4 and x.shape[2:] == node.shape[2:] and x.shape[:2] == pixels.shape[:2]
    if not isinstance(state, State) or len(state.shape) != 2 or not fits:
        return None
    like = Node("linear", (x,), y.shape, {"out": node.shape[1]}, {"weight": state}, y.name, y.place, y.rules)
    return _pointwise(b, like, x, node.shape)


def _pointwise(b: Builder, linear: Node, x: Node, shape: TensorShape) -> Node | None:
    weight = linear.tensors["weight"]
    if not isinstance(weight, State):
        return None
    tensors = {**linear.tensors, "weight": reshaped(weight, (*weight.shape, 1, 1))}
    one = (1, 1)
    attributes = {"kernel": one, "stride": one, "padding": (0, 0), "dilation": one, "groups": 1}
    return b.make("conv", x, shape=shape, tensors=tensors, like=linear, out=shape[1], arguments=attributes)


@rule("a part of what a layer gives is what a part of the layer gives", "slice")
def layer_in_parts(b: Builder, node: Node) -> Node | None:
    """Queries, keys and values of one projection, gates of one layer: output channels are independent of each other."""
    a = node.attributes
    if a["step"] != 1:
        return None
    return _part(b, node.inputs[0], a["axis"], 1, 1, a["start"], a["stop"])


def _part(b: Builder, x: Node, axis: int, before: int, behind: int, start: int, stop: int) -> Node | None:
    """The part of a value, where it is a part of a layer: an axis seen as (before, n, behind), of n from start to stop.

    Moved and added values are followed to the layers that give them. None where there is anything else.
    """
    size = x.shape[axis] // (before * behind)
    shape = (*x.shape[:axis], before * (stop - start) * behind, *x.shape[axis + 1 :])
    parts: list[Node | None]
    match x.kind:
        case "linear" | "conv":
            if axis != (len(x.shape) - 1 if x.kind == "linear" else 1) or x.attributes.get("groups", 1) != 1:
                return None
            tensors: dict[str, State | Node] = {}
            for role, state in x.tensors.items():
                if not isinstance(state, State):
                    return None
                start_, stop_ = start * behind, stop * behind
                if before == 1:
                    tensors[role] = sliced(state, 0, start_, stop_)
                else:
                    apart = reshaped(state, (before, size * behind, *state.shape[1:]))
                    tensors[role] = reshaped(sliced(apart, 1, start_, stop_), (shape[axis], *state.shape[1:]))
            attributes = {**x.attributes, "out": shape[axis]}
            part = b.make(x.kind, *x.inputs, shape=shape, tensors=tensors, like=x, arguments=attributes)
            if before == 1:
                b.work.parts[part] = Part(x, axis, start * behind, stop * behind)
            return part
        case "permute":
            axes = x.attributes["axes"]
            inner = _part(b, x.inputs[0], axes[axis], before, behind, start, stop)
            if inner is None or shape[axis] != 1:
                return inner and b.make("permute", inner, shape=shape, like=x, axes=axes)
            cut = axes[axis]  # an axis of one is not moved, but left out
            left = b.reshape(inner, (*inner.shape[:cut], *inner.shape[cut + 1 :]), x)
            order = tuple(at - (at > cut) for at in axes if at != cut)
            moved = b.make("permute", left, shape=(*shape[:axis], *shape[axis + 1 :]), like=x, axes=order)
            return b.reshape(moved, shape, x)
        case "reshape":
            split = split_of(x.inputs[0].shape, x.shape, axis)
            if split is None:
                return None
            inner = _part(b, x.inputs[0], split.axis, split.before * before, behind * split.behind, start, stop)
            return inner and b.reshape(inner, shape, x)
        case "sum" if all(one.shape == x.shape for one in x.inputs):
            parts = [_part(b, one, axis, before, behind, start, stop) for one in x.inputs]
            done = [one for one in parts if one is not None]
            return b.make("sum", *done, shape=shape, like=x) if len(done) == len(parts) else None
    return None


@rule("a bias added apart", "sum")
def bias_added_apart(b: Builder, node: Node) -> Node | None:
    """conv(x) + b, and norm(x) + b, where there is no other bias."""
    return _channelwise(b, node, ("conv", "linear", "batchnorm"), "bias")


@rule("a scale applied apart", "product")
def scale_applied_apart(b: Builder, node: Node) -> Node | None:
    """norm(x) * w, where the norm has no other affine part."""
    return _channelwise(b, node, ("batchnorm",), "weight")


def _channelwise(b: Builder, node: Node, kinds: tuple[str, ...], role: str) -> Node | None:
    """The operation before a sum or product with a parameter, one number a channel, which becomes its `role`."""
    if len(node.inputs) != 2:
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        inner = x.inputs[0] if x.kind == "reshape" else x
        if inner.kind not in kinds or role in inner.tensors or x.shape != node.shape:
            continue
        if role == "weight" and "bias" in inner.tensors:
            continue
        # Channels are the last axis of a linear layer, in whatever shape the rest is, and the second one of the others.
        at_end = inner.kind == "linear"
        if x is not inner and not (at_end and x.shape[-1] == inner.shape[-1]):
            continue
        value = other.inputs[0] if other.kind == "expand" else other
        state, channels = state_of(value), node.shape[-1 if at_end else 1]
        wide = (channels,) if at_end else (channels,) + (1,) * (len(node.shape) - 2)
        if not isinstance(state, State) or len(state.shape) > len(node.shape):
            continue
        if (1,) * len(node.shape) + state.shape != (1,) * (len(node.shape) + len(state.shape) - len(wide)) + wide:
            continue
        tensors = {**inner.tensors, role: reshaped(state, (channels,))}
        y = b.make(
            inner.kind, *inner.inputs, shape=inner.shape, tensors=tensors, like=inner, arguments=inner.attributes
        )
        return y if x is inner else b.reshape(y, x.shape, x)
    return None
