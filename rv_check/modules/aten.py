"""Torch's operators in the words of an op graph: one small function for each way torch has to say a thing.

A reader is given the arguments by their names in torch's schema, values of the graph where torch has tensors, and the
shape of the (first) result. What no reader knows keeps torch's name, its arguments and its inputs, and is compared by
these. Sources: torch's native_functions.yaml for the arguments, the decompositions in torch/_decomp for their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isclose, prod
from typing import Any

from rv_check.graphs.builder import Builder, Form, state_of
from rv_check.graphs.graph import Node, State, TensorShape
from rv_check.ops.kinds import LEAVES

Arguments = Mapping[str, Any]
Reader = Callable[[Builder, Arguments, TensorShape], Node]
READERS: dict[str, Reader] = {}


def reads(*names: str) -> Callable[[Reader], Reader]:
    """Make a function the reader of these operators; in-place forms, with a trailing underscore, are theirs too."""

    def register(function: Reader) -> Reader:
        READERS.update(dict.fromkeys(names, function))
        return function

    return register


def read(b: Builder, name: str, arguments: Arguments, shape: TensorShape) -> Node:
    """The operation that an operator stands for; `name` without overload and trailing underscore."""
    reader = READERS.get(name)
    return unknown(b, name, arguments, shape) if reader is None else reader(b, arguments, shape)


def unknown(b: Builder, name: str, a: Arguments, shape: TensorShape) -> Node:
    """An operator that has no reader: by its name, its tensors and its plain arguments."""
    inputs: list[Node] = []
    tensors: dict[str, State | Node] = {}
    attributes: dict[str, Any] = {}
    for argument, value in a.items():
        if isinstance(value, Node):
            state = state_of(value)
            if isinstance(state, State):
                tensors[argument] = state
            else:
                inputs.append(value)
        elif isinstance(value, list) and any(isinstance(one, Node) for one in value):
            values = [one for one in value if isinstance(one, Node)]
            inputs += values
            if len(values) < len(value):  # an index of some axes
                attributes[argument] = tuple("one" if isinstance(one, Node) else plain(one) for one in value)
        elif value is not None:
            attributes[argument] = plain(value)
    for argument in ("dim", "dims", "axis"):  # an axis may be told from the end
        if inputs and argument in attributes:
            attributes[argument] = _from_the_beginning(attributes[argument], len(inputs[0].shape))
    return b.make(name, *inputs, shape=shape, tensors=tensors, arguments=attributes)


def _from_the_beginning(axes: Any, rank: int) -> Any:
    """Axes as they are counted from the first one; what is none is left as it is."""
    if isinstance(axes, tuple):
        return tuple(_from_the_beginning(axis, rank) for axis in axes)
    return axes + rank if isinstance(axes, int) and not isinstance(axes, bool) and -rank <= axes < 0 else axes


def plain(value: Any) -> Any:
    """A plain argument as something that can be compared and hashed."""
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def each(value: Any, axes: int = 2) -> tuple[int, ...]:
    """A number for each axis: torch takes a list of one for as many equals."""
    return (value[0],) * axes if len(value) == 1 else tuple(value)


def _tensors(**roles: Node | None) -> dict[str, State | Node]:
    return {role: state_of(value) for role, value in roles.items() if value is not None}


# Layers


@reads("convolution", "_convolution")
def convolution(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Every convolution there is: conv1d to conv3d, transposed or not."""
    weight = a["weight"]
    kernel = weight.shape[2:]
    attributes = {"out": shape[1], "kernel": kernel, "groups": a["groups"]}
    attributes |= {name: each(a[name], len(kernel)) for name in ("stride", "padding", "dilation")}
    kind = "conv" if len(kernel) == 2 else f"conv{len(kernel)}d"
    if a["transposed"]:
        kind, attributes["output_padding"] = f"{kind}_transpose", each(a["output_padding"], len(kernel))
    return b.make(kind, a["input"], shape=shape, tensors=_tensors(weight=weight, bias=a["bias"]), **attributes)


@reads("torchvision::deform_conv2d")
def deformed(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """A convolution whose windows are bent: where each element is read, and with what factor, are inputs."""
    inputs = [a["input"], a["offset"], *([a["mask"]] if a["use_mask"] or b.form is Form.AS_RUN else [])]
    attributes = {"out": shape[1], "kernel": a["weight"].shape[2:], "groups": a["groups"]}
    attributes |= {name: (a[f"{word}_h"], a[f"{word}_w"]) for name, word in BENT}
    tensors = _tensors(weight=a["weight"], bias=a["bias"])
    kind = "torchvision::deform_conv2d"
    return b.make(kind, *inputs, shape=shape, tensors=tensors, offset_groups=a["offset_groups"], **attributes)


BENT = (("stride", "stride"), ("padding", "pad"), ("dilation", "dilation"))  # our words, and those of its arguments
NORMS = (  # batch normalisations, which move the running statistics they are given
    *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    *("_batch_norm_with_update", "cudnn_batch_norm", "miopen_batch_norm"),
)


@reads(*NORMS)
def batch_norm(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Batch normalisation in either mode."""
    mean, variance = a.get("running_mean"), a.get("running_var")
    training = a.get("training", False)
    tensors = _tensors(weight=a["weight"], bias=a["bias"], running_mean=mean, running_var=variance)
    eps = a["eps"] if "eps" in a else a["epsilon"]
    attributes: dict[str, Any] = {"eps": eps, "statistics": "of the batch" if training else "running"}
    if training and mean is not None:
        attributes["momentum"] = a.get("momentum", a.get("exponential_average_factor"))
    return b.make("batchnorm", a["input"], shape=shape, tensors=tensors, **attributes)


@reads("native_group_norm")
def group_norm(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Normalisation of groups of channels; its other arguments are sizes of the input."""
    tensors = _tensors(weight=a["weight"], bias=a["bias"])
    return b.make("groupnorm", a["input"], shape=shape, tensors=tensors, groups=a["group"], eps=a["eps"])


@reads("addmm", "mm", "linear")
def linear(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x @ W (+ b) with a parameter W is a linear layer, W.T its weight; of two computed values it is a product."""
    if "weight" in a:
        x, weight = a["input"], a["weight"]
    else:
        x, matrix = (a["mat1"], a["mat2"]) if "mat1" in a else (a["self"], a["mat2"])
        weight = b.make("permute", matrix, shape=matrix.shape[::-1], axes=(1, 0))
    bias = a.get("bias") if "weight" in a else a["self"] if "mat1" in a else None
    if not weight.fixed:
        product = b.make("matmul", x, weight, shape=shape)
    elif a.get("alpha", 1) == a.get("beta", 1) == 1:
        return _linear(b, x, weight, bias, shape)
    else:
        product = _linear(b, x, weight, None, shape)
    return product if bias is None else _added(b, {**a, "self": bias}, product, shape)


def _linear(b: Builder, x: Node, weight: Node, bias: Node | None, shape: TensorShape) -> Node:
    tensors = _tensors(weight=weight, bias=bias)
    if len(x.shape) == 2:
        return b.make("linear", x, shape=shape, tensors=tensors, out=shape[-1])
    rows = prod(x.shape[:-1])  # as torch itself does outside inference mode
    flat = b.reshape(x, (rows, x.shape[-1]))
    return b.reshape(b.make("linear", flat, shape=(rows, shape[-1]), tensors=tensors, out=shape[-1]), shape)


def _added(b: Builder, a: Arguments, product: Node, shape: TensorShape) -> Node:
    """beta * x + alpha * product; torch does not read x where beta is 0."""
    x, alpha, beta = a["self"], a.get("alpha", 1), a.get("beta", 1)
    if beta == 0:
        return product if alpha == 1 else b.make("scale", product, shape=shape, by=alpha)
    if beta != 1:
        x = b.make("scale", x, shape=x.shape, by=beta)
    return add(b, {"self": x, "other": product, "alpha": alpha}, shape)


PAIRS = {  # torch's products, and those that a value is added to: by what names they call the two
    "bmm": ("self", "mat2"),
    "mv": ("self", "vec"),
    "dot": ("self", "tensor"),
    "vdot": ("self", "other"),
    "baddbmm": ("batch1", "batch2"),
    "addmv": ("mat", "vec"),
}


def _product(first: str, second: str) -> Reader:
    """A product of matrices or vectors, for each of a batch."""

    def reader(b: Builder, a: Arguments, shape: TensorShape) -> Node:
        product = b.make("matmul", a[first], a[second], shape=shape)
        return product if first == "self" else _added(b, a, product, shape)

    return reader


READERS |= {name: _product(*names) for name, names in PAIRS.items()}


@reads("addbmm")
def addbmm(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """A value and the sum of a batch of products."""
    many = (a["batch1"].shape[0], *shape)
    product = b.make("matmul", a["batch1"], a["batch2"], shape=many)
    return _added(b, a, b.make("total", product, shape=shape, axes=(0,)), shape)


@reads("_grouped_mm")
def grouped(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Groups of rows, each with a matrix of its own, as experts have. Groups of columns are another product."""
    x, weight, ends = a["self"], a["mat2"], a.get("offs")
    others = any(a.get(name) is not None for name in ("bias", "out_dtype"))
    if len(x.shape) != 2 or len(weight.shape) != 3 or ends is None or others:
        return unknown(b, "_grouped_mm", a, shape)
    return b.make("grouped_matmul", x, weight, ends, shape=shape)


# Activations


@reads("relu")
def relu(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """max(x, 0)."""
    return b.make("relu", a["self"], shape=shape)


@reads("threshold")
def threshold(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x where it is above the threshold, else the value."""
    at_zero = a["threshold"] == 0 and a["value"] == 0
    return relu(b, a, shape) if at_zero else unknown(b, "threshold", a, shape)


@reads("clamp", "clamp_min", "hardtanh", "clamp_max")
def clamp(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Between two bounds, either of which may be missing; from 0 up it is relu, and from 0 to 6 relu6."""
    low, high = a.get("min", a.get("min_val")), a.get("max", a.get("max_val"))
    if low == 0 and high in (None, float("inf")):
        return relu(b, a, shape)
    if low == 0 and high == 6:
        return b.make("relu6", a["self"], shape=shape)
    return unknown(b, "clamp", {"self": a["self"], "low": low, "high": high}, shape)


@reads("leaky_relu")
def leaky_relu(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x, times the slope where it is negative."""
    return relu(b, a, shape) if a["negative_slope"] == 0 else unknown(b, "leaky_relu", a, shape)


@reads("maximum")
def maximum(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """The larger of two; with zeros it is relu, but that torch gives both half of the gradient where they are equal."""
    for x, other in ((a["self"], a["other"]), (a["other"], a["self"])):
        if other.kind == "constant" and other.attributes["value"] == 0 and x.shape == shape:
            return b.make("relu", x, shape=shape)
    return unknown(b, "maximum", a, shape)


def _plainly(kind: str) -> Reader:
    return lambda b, a, shape: b.make(kind, a["self"], shape=shape)


READERS |= {kind: _plainly(kind) for kind in ("silu", "sigmoid")}


# Pools


@reads("max_pool2d_with_indices", "max_pool2d", "max_pool3d_with_indices", "max_pool3d")
def max_pool(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """The largest of each window; of a sequence along the second of two axes, as torch does it."""
    axes = 3 if len(a["kernel_size"]) == 3 or len(shape) == 5 else 2
    kernel = each(a["kernel_size"], axes)
    arguments: dict[str, Any] = {name: each(a[name], axes) for name in ("padding", "dilation")}
    stride = each(a["stride"], axes) if a["stride"] else kernel
    kind, ceil = "max_pool3d_with_indices" if axes == 3 else "maxpool", bool(a["ceil_mode"])
    return b.make(kind, a["self"], shape=shape, kernel=kernel, stride=stride, ceil_mode=ceil, **arguments)


@reads("avg_pool2d", "avg_pool3d")
def avg_pool(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """The mean of each window."""
    axes = 3 if len(a["kernel_size"]) == 3 or len(shape) == 5 else 2
    kernel = each(a["kernel_size"], axes)
    divisor = {} if a["divisor_override"] is None else {"divisor": a["divisor_override"]}
    return b.make(
        "avg_pool3d" if axes == 3 else "avgpool",
        a["self"],
        shape=shape,
        kernel=kernel,
        stride=each(a["stride"], axes) if a["stride"] else kernel,
        padding=each(a["padding"], axes),
        ceil_mode=bool(a["ceil_mode"]),
        count_include_pad=bool(a["count_include_pad"]),
        **divisor,
    )


@reads("_adaptive_avg_pool2d", "adaptive_avg_pool2d")
def adaptive_avg_pool(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """The mean of windows that divide the map."""
    return b.make("adaptive_avgpool", a["self"], shape=shape, out=shape[-2:])


def _upsample_nearest(kind: str, *scales: str) -> Reader:
    """Each element in the place of several. A size that is given for a scale stands for the scale that it makes."""

    def reader(b: Builder, a: Arguments, shape: TensorShape) -> Node:
        x = a["self"] if "self" in a else a["input"]
        given = a.get("scale_factors") or tuple(a.get(scale) for scale in scales)
        sizes = zip(given, shape[2:], x.shape[2:], strict=True)
        return b.make(kind, x, shape=shape, scale=tuple(one or new / old for one, new, old in sizes))

    return reader


for _kind, *_scales in (
    ("upsample_nearest1d", "scales"),
    ("upsample_nearest2d", "scales_h", "scales_w"),
    ("upsample_nearest3d", "scales_d", "scales_h", "scales_w"),
):
    READERS[_kind] = _upsample_nearest(_kind, *_scales)


def _reduction(kind: str) -> Reader:
    """The mean or the total over some axes, or over all."""

    def reader(b: Builder, a: Arguments, shape: TensorShape) -> Node:
        x = a["self"]
        rank = len(x.shape)
        axes = tuple(sorted(axis % rank for axis in a.get("dim") or range(rank)))
        if a.get("dtype") is not None:
            x = b.make("cast", x, shape=x.shape, dtype=str(a["dtype"]))
        if kind == "total" and len(axes) == 1 and x.kind == "concat" and x.attributes["axis"] == axes[0]:
            slices = [part for part in x.inputs if part.shape[axes[0]] == 1]
            if len(slices) == len(x.inputs):  # sum(stack(values)) is the sum of the values
                return b.make("sum", *(b.reshape(part, shape) for part in slices), shape=shape)
        return b.make(kind, x, shape=shape, axes=axes)

    return reader


READERS["mean"], READERS["sum"] = _reduction("mean"), _reduction("total")


def _extreme(name: str) -> Reader:
    """The largest or the smallest: along an axis, with its place, or of all axes, which is that of several axes."""

    def reader(b: Builder, a: Arguments, shape: TensorShape) -> Node:
        if "dim" in a:
            return unknown(b, name, a, shape)
        axes = tuple(range(len(a["self"].shape)))
        return b.make(f"a{name}", a["self"], shape=shape, dim=axes, keepdim=False)

    return reader


READERS["max"], READERS["min"] = _extreme("max"), _extreme("min")


# Arithmetic


@reads("add")
def add(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x + alpha * y."""
    x, y = a["self"], a["other"]
    alpha = a.get("alpha", 1)
    number = _number(y)
    if number is not None:
        return b.make("shift", x, shape=shape, by=number * alpha) if number or x.shape == shape else x
    if _number(x) is not None and alpha == 1:
        return b.make("shift", y, shape=shape, by=_number(x))
    if alpha != 1:
        y = b.make("scale", y, shape=y.shape, by=alpha)
    return b.make("sum", x, y, shape=shape)


@reads("addcmul")
def addcmul(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x + value * y * z."""
    y, z = a["tensor1"], a["tensor2"]
    wide = y.shape if len(y.shape) >= len(z.shape) else z.shape
    product = mul(b, {"self": y, "other": z}, shape if shape in (y.shape, z.shape) else wide)
    return add(b, {"self": a["self"], "other": product, "alpha": a.get("value", 1)}, shape)


@reads("sub")
def sub(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x - alpha * y."""
    return add(b, {**a, "alpha": -a.get("alpha", 1)}, shape)


@reads("rsub")
def rsub(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """alpha * y - x, y being the other."""
    negative = b.make("scale", a["self"], shape=a["self"].shape, by=-a.get("alpha", 1))
    return add(b, {"self": negative, "other": a["other"]}, shape)


@reads("lerp")
def lerp(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x + weight * (y - x), the weight being a number."""
    weight = _number(a["weight"])
    if weight is None:
        return unknown(b, "lerp", a, shape)
    parts = ((a["self"], 1 - weight), (a["end"], weight))
    return b.make("sum", *(b.make("scale", x, shape=x.shape, by=by) for x, by in parts), shape=shape)


@reads("neg")
def neg(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """-x."""
    return b.make("scale", a["self"], shape=shape, by=-1)


@reads("mul")
def mul(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x * y, with a number, or with a random mask, which is dropout."""
    x, y = a["self"], a["other"]
    for value, other in ((x, y), (y, x)):
        if not isinstance(value, Node):
            continue
        number = _number(other)
        if number is not None:
            return _scaled(b, value, number, shape)
        if isinstance(other, Node) and other.kind == "random" and "keep" in other.attributes and value.shape == shape:
            return _dropped(b, value, other)
    return b.make("product", x, y, shape=shape)


@reads("div", "true_divide")
def div(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """x / y."""
    number = _number(a["other"])
    if number and a.get("rounding_mode") is None:
        return _scaled(b, a["self"], 1 / number, shape)
    return unknown(b, "div", a, shape)


def _number(value: Any) -> float | int | None:
    """A number, also where it stands in a tensor of one."""
    if isinstance(value, Node):
        one = value.kind == "constant" and all(n == 1 for n in value.shape)
        value = value.attributes["value"] if one else None
    number: float | int | None = value
    return number


def _scaled(b: Builder, value: Node, by: float, shape: TensorShape) -> Node:
    if value.kind == "random" and "keep" in value.attributes:
        attributes = {**value.attributes, "scale": value.attributes["scale"] * by}
        return b.make("random", shape=shape, **attributes)
    return b.make("scale", value, shape=shape, by=by)


# Chance


def _dropped(b: Builder, x: Node, mask: Node) -> Node:
    """x times a mask of chance: dropout of elements, of channels, or of whole images (stochastic depth)."""
    keep, scale = mask.attributes["keep"], mask.attributes["scale"]
    forms = {
        (x.shape[0], *(1 for _ in x.shape[1:])): "images",
        (*x.shape[:2], *(1 for _ in x.shape[2:])): "channels",
        x.shape: "elements",
    }
    of = forms.get(mask.shape, f"places of {mask.shape}")
    p = round(1 - keep, 12)
    # where nothing is kept, nothing is scaled
    more: dict[str, Any] = {} if not keep or isclose(scale * keep, 1, rel_tol=1e-6) else {"scale": scale}
    if mask in b.work.masks:
        more["mask"] = "that of another"
    b.work.masks.add(mask)
    return b.make("dropout", x, shape=x.shape, p=p, of=of, **more)


@reads("native_dropout")
def native_dropout(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Dropout where torch has one kernel for it."""
    return b.make("dropout", a["input"], shape=shape, p=a["p"], of="elements") if a["train"] else a["input"]


@reads("bernoulli")
def bernoulli(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """A mask of ones with this chance, else zeros."""
    chance = a.get("p")
    if isinstance(chance, Node) or chance is None:
        source = chance if isinstance(chance, Node) else a["self"]
        if source.kind != "constant" or source.attributes["value"] is None:
            return unknown(b, "bernoulli", a, shape)
        chance = source.attributes["value"]
    return b.make("random", shape=shape, keep=chance, scale=1.0)


@reads("rand", "rand_like", "uniform")
def uniform(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Numbers from 0 to 1, or between two bounds."""
    low, high = a.get("from", 0), a.get("to", 1)
    return b.make("random", shape=shape, low=low, high=high)


@reads("randn", "randn_like", "normal", "normal_functional")
def normal(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Normally distributed numbers."""
    numbers: dict[str, Any] = {n: v for n, v in a.items() if n in ("mean", "std") and isinstance(v, float)}
    return b.make("random", shape=shape, normal=True, **numbers)


@reads("floor")
def floor(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """floor(uniform + keep) is a mask: 1 with the chance keep."""
    x = a["self"]
    if x.kind == "shift" and _is_uniform(x.inputs[0]) and 0 <= x.attributes["by"] <= 1:
        return b.make("random", shape=shape, keep=x.attributes["by"], scale=1.0)
    return unknown(b, "floor", a, shape)


def _compare(name: str, above: bool) -> Reader:
    def reader(b: Builder, a: Arguments, shape: TensorShape) -> Node:
        number = _number(a["other"])
        if isinstance(a["self"], Node) and _is_uniform(a["self"]) and number is not None and 0 <= number <= 1:
            return b.make("random", shape=shape, keep=1 - number if above else number, scale=1.0)
        return unknown(b, name, a, shape)

    return reader


for _name, _above in (("gt", True), ("ge", True), ("lt", False), ("le", False)):
    READERS[_name] = _compare(_name, _above)


def _is_uniform(node: Node) -> bool:
    return node.kind == "random" and node.attributes.get("low") == 0 and node.attributes.get("high") == 1


# Constants


@reads("zeros", "zeros_like", "new_zeros", "zero")
def zeros(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Zeros."""
    return b.make("constant", shape=shape, value=0)


@reads("ones", "ones_like", "new_ones")
def ones(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Ones."""
    return b.make("constant", shape=shape, value=1)


@reads("full", "full_like", "new_full", "fill", "scalar_tensor")
def full(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """One number everywhere."""
    value = a.get("fill_value", a.get("value", a.get("s")))
    if isinstance(value, Node) and _number(value) is None:
        return b.make("expand", value, shape=shape, to=shape)
    return b.make("constant", shape=shape, value=_number(value))


@reads("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided")
def empty(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Memory whose numbers nobody knows, soon to be written."""
    return b.make("constant", shape=shape, value=None)


# Moving elements


@reads(
    "view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy", "unsqueeze", "squeeze", "flatten", "unflatten"
)
def view(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Another shape for the same elements in the same order."""
    if "dtype" in a:
        return unknown(b, "view", a, shape)
    return b.reshape(a["self"], shape)


@reads("t", "transpose", "permute", "numpy_T")
def permute(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Another order of the axes."""
    x = a["self"]
    axes = list(range(len(x.shape)))
    if "dims" in a:
        axes = [axis % len(axes) for axis in a["dims"]]
    elif "dim0" in a and axes:
        i, j = a["dim0"] % len(axes), a["dim1"] % len(axes)
        axes[i], axes[j] = axes[j], axes[i]
    else:
        axes.reverse()
    return b.make("permute", x, shape=shape, axes=tuple(axes))


@reads("expand", "broadcast_to", "expand_as")
def expand(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Axes of size 1 repeated."""
    x: Node = a["self"]
    return x if x.shape == shape else b.make("expand", x, shape=shape, to=shape)


@reads("slice")
def slice_(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """A range of one axis."""
    size = a["self"].shape[a["dim"]]
    start, stop, _ = slice(a.get("start"), a.get("end"), a.get("step", 1)).indices(size)
    axis = a["dim"] % len(shape)
    return b.make("slice", a["self"], shape=shape, axis=axis, start=start, stop=stop, step=a.get("step", 1))


@reads("select")
def select(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """One index of one axis, which goes."""
    x = a["self"]
    axis, index = a["dim"] % len(x.shape), a["index"] % x.shape[a["dim"]]
    one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    return b.reshape(b.make("slice", x, shape=one, axis=axis, start=index, stop=index + 1, step=1), shape)


@reads("cat")
def cat(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Values one after the other along an axis."""
    return b.make("concat", *a["tensors"], shape=shape, axis=a.get("dim", 0) % len(shape))


@reads("repeat")
def tile(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """A value several times over along each axis."""
    return b.make("tile", a["self"], shape=shape, times=tuple(a["repeats"]))


@reads("stack")
def stack(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Values one after the other along a new axis."""
    axis = a.get("dim", 0) % len(shape)
    parts = [b.reshape(x, (*shape[:axis], 1, *shape[axis + 1 :])) for x in a["tensors"]]
    return b.make("concat", *parts, shape=shape, axis=axis)


@reads("constant_pad_nd")
def pad(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """A number around the input: torch lists the sides from the last axis on."""
    x: Node = a["self"]
    given = a["pad"]
    sides = [(0, 0)] * len(x.shape)
    for at in range(len(given) // 2):
        sides[-1 - at] = (given[2 * at], given[2 * at + 1])
    if not any(map(any, sides)):
        return x
    return b.make("pad", x, shape=shape, sides=tuple(sides), value=float(a.get("value", 0)))


@reads("clone")
def clone(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """The value in memory of its own, which is another one only where memory counts."""
    return b.make("clone", a["self"], shape=shape) if b.form is Form.AS_RUN else a["self"]


@reads("contiguous", "alias", "detach", "lift", "lift_fresh", "lift_fresh_copy", "positive", "view_as")
def same(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """The value itself."""
    x: Node = a["self"]
    return x


@reads("_to_copy", "to")
def to_copy(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """The value on another device or of another type; of another type it is rounded."""
    x: Node = a["self"]
    dtype = a.get("dtype")
    if x.kind == "random" or (dtype is None and x.kind in LEAVES):  # a mask is 0 or 1 in every type
        return x
    if dtype is None:
        return clone(b, a, shape)
    return b.make("cast", x, shape=shape, dtype=str(dtype))


@reads("as_strided")
def as_strided(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """Other strides for the same shape, as torch gives a pooled map that is channels-last, move nothing."""
    ones = all(n == 1 for n in shape[2:]) and shape == a["self"].shape and not a.get("storage_offset")
    return a["self"] if ones and tuple(a["stride"])[:2] == (shape[1], 1) else unknown(b, "as_strided", a, shape)


@reads("copy")
def copy(b: Builder, a: Arguments, shape: TensorShape) -> Node:
    """What is copied into a tensor."""
    return a["src"] if a["src"].shape == shape else b.make("expand", a["src"], shape=shape, to=shape)
