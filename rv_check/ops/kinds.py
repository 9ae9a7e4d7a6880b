"""What is true of every operation of a kind, whatever its arguments: one row a kind.

A kind is an operation in the words of `rv_check.ops`, whose classes enter their own rows, or in torch's where there is
no op for it. What needs a function of arguments and shapes stands where it is computed. A property without a default
has to be said of every kind: what nobody knows is "unknown", and an operation of an unknown kind is an error wherever
something is counted or followed, never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

Sees = Literal[  # what a unit of the output sees of the inputs
    "itself",  # the unit of each input in its own place
    "window",  # what slides over the axes of a map
    "larger",  # the unit that it is made from by upsampling
    "joined",  # the unit of one of the inputs, which lie one after the other
    "map",  # the whole map
    "norm",  # itself, and by the statistics perhaps the whole map
    "axes",  # all along the axes of a reduction
    "features",  # all along the last axis
    "moved",  # a unit in another place, which the axes tell
    "not followed",  # units in other places, which no window tells
    "unknown",
]
Keeps = Literal[  # what autograd keeps for the backward pass. Source: torch's tools/autograd/derivatives.yaml
    "nothing",
    "view",  # nothing: the output is the input's memory
    "input",  # the first input
    "inputs",
    "factors",  # each input that another one's gradient is multiplied with
    "output",
    "input and output",
    "inputs and output",
    "index",  # the inputs that tell places
    "unknown",
]
Multiplies = Literal[  # what takes multiply-adds, and how many
    "nothing",
    "filter",  # an output element as many as its filter has weights
    "spread",  # an input element as many as its filter has weights: a transposed convolution
    "matrices",  # an output element as many as a row of the first matrix has elements
    "attention",  # two products of matrices
    "unknown",
]
KindFamily = Literal["", "activation", "norm", "pool", "layer", "join"]  # kinds that may stand in for one another
Sign = Literal["any", "kept", "nonnegative"]  # "kept": no element is negative where none of the inputs is


@dataclass(frozen=True)
class Kind:
    """A kind of operation.

    `family`: one kind of it in the place of another is a change, not another thing. `weighted`: it counts as a layer in
    the depth of a network, and its output in the activations. `projects`: it may stand in a projection shortcut.
    `commutes`: its inputs come in no order, and nested ones are one. `moves`: it computes nothing, and its arguments
    follow the shape of its input. `worth`: what it is worth to pair two of the kind when graphs are aligned, where what
    carries parameters tells the most about the place. `element_bytes`: the size of an element of the output, where it
    is no number of the network's type. `periodic`: what it gives repeats, so that rounding leaves nothing of it where
    its input is large. `whole`: of whole numbers it gives whole ones, which have another size. `sized_by_values`: the
    shape of what it gives depends on values, and torch does not say so of it. `in_place_by_output`: where it overwrites
    its input, its output is kept, and no copy of what was there. `called`: what people call it, where torch has another
    word.
    """

    name: str
    sees: Sees
    keeps: Keeps
    multiplies: Multiplies
    family: KindFamily = ""
    weighted: bool = False
    projects: bool = False
    commutes: bool = False
    moves: bool = False
    worth: float = 3.0
    sign: Sign = "any"
    element_bytes: int | None = None
    periodic: bool = False
    whole: bool = False
    sized_by_values: bool = False
    in_place_by_output: bool = False
    called: str = ""


KINDS: dict[str, Kind] = {}


def enter(kind: Kind) -> None:
    """Enter the row of a kind. Raises: ValueError where it has one."""
    if kind.name in KINDS:
        raise ValueError(f"{kind.name} has a row already")
    KINDS[kind.name] = kind


def kind_of(name: str) -> Kind:
    """The row of a kind; all is unknown of one that has none."""
    return KINDS.get(name) or _unknown(name)


@cache
def _unknown(name: str) -> Kind:
    return Kind(name, sees="unknown", keeps="unknown", multiplies="unknown")


# Where values come from: leaves are no operations.

FIXED = ("state", "constant", "unregistered")  # these depend on no input and no chance
LEAVES = ("input", "random", *FIXED)
OWN_LEAVES = ("state", "random", "unregistered")  # what a network has, beside its input and plain numbers

MASK_BYTES, INDEX_BYTES = 1, 8  # the size of a truth value, and that of a number that tells a place

for _row in (
    # Layers
    Kind("conv1d", "window", "input", "filter", family="layer", weighted=True, worth=8.0),
    Kind("conv3d", "window", "input", "filter", family="layer", weighted=True, worth=8.0),
    Kind("conv1d_transpose", "window", "input", "spread", family="layer", weighted=True, worth=8.0),
    Kind("conv3d_transpose", "window", "input", "spread", family="layer", weighted=True, worth=8.0),
    Kind("native_layer_norm", "norm", "inputs", "nothing", family="norm", worth=4.0, called="layernorm"),
    Kind("matmul", "map", "factors", "matrices", family="layer"),
    Kind("grouped_matmul", "not followed", "inputs", "matrices", family="layer"),
    Kind("torchvision::deform_conv2d", "not followed", "inputs", "filter", family="layer", weighted=True, worth=8.0),
    Kind("_scaled_dot_product_flash_attention_for_cpu", "map", "inputs and output", "attention", called="attention"),
    Kind("embedding", "not followed", "index", "nothing"),
    # Activations
    Kind("gelu", "itself", "input", "nothing", family="activation"),
    Kind("tanh", "itself", "output", "nothing", family="activation"),
    Kind("clamp", "itself", "input", "nothing", family="activation", whole=True),
    Kind("leaky_relu", "itself", "input", "nothing", family="activation", in_place_by_output=True),
    Kind("elu", "itself", "input", "nothing", family="activation", in_place_by_output=True),
    Kind("celu", "itself", "input", "nothing", family="activation", in_place_by_output=True),
    Kind("mish", "itself", "input", "nothing", family="activation"),
    Kind("softplus", "itself", "input", "nothing", family="activation"),
    Kind("_prelu_kernel", "itself", "input", "nothing", family="activation", called="prelu"),
    Kind("log_sigmoid_forward", "itself", "input", "nothing", family="activation", called="logsigmoid"),
    Kind("softshrink", "itself", "input", "nothing", family="activation"),
    Kind("hardshrink", "itself", "input", "nothing", family="activation"),
    Kind("glu", "not followed", "input", "nothing"),
    Kind("threshold", "itself", "input", "nothing"),
    Kind("_softmax", "axes", "output", "nothing", called="softmax"),
    Kind("_safe_softmax", "axes", "output", "nothing", called="softmax"),
    Kind("_log_softmax", "axes", "output", "nothing", called="log_softmax"),
    # Functions of single elements
    Kind("clone", "itself", "nothing", "nothing", moves=True, sign="kept"),
    Kind("scale", "itself", "nothing", "nothing"),
    Kind("shift", "itself", "nothing", "nothing"),
    Kind("cast", "itself", "nothing", "nothing"),
    Kind("sign", "itself", "nothing", "nothing"),
    Kind("floor", "itself", "nothing", "nothing"),
    Kind("ceil", "itself", "nothing", "nothing"),
    Kind("round", "itself", "nothing", "nothing"),
    Kind("trunc", "itself", "nothing", "nothing"),
    Kind("exp", "itself", "output", "nothing"),
    Kind("exp2", "itself", "output", "nothing"),
    Kind("expm1", "itself", "output", "nothing"),
    Kind("sqrt", "itself", "output", "nothing"),
    Kind("rsqrt", "itself", "output", "nothing"),
    Kind("reciprocal", "itself", "output", "nothing"),
    Kind("abs", "itself", "input", "nothing", family="activation", whole=True),
    Kind("sin", "itself", "input", "nothing", family="activation", periodic=True),
    Kind("cos", "itself", "input", "nothing", periodic=True),
    Kind("atan", "itself", "input", "nothing"),
    Kind("sinh", "itself", "input", "nothing"),
    Kind("cosh", "itself", "input", "nothing"),
    Kind("erf", "itself", "input", "nothing"),
    Kind("log", "itself", "input", "nothing"),
    Kind("log1p", "itself", "input", "nothing"),
    Kind("log2", "itself", "input", "nothing"),
    Kind("log10", "itself", "input", "nothing"),
    Kind("pow", "itself", "input", "nothing"),
    Kind("nan_to_num", "itself", "input", "nothing"),
    Kind("eq", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("ne", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("lt", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("le", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("gt", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("ge", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("isnan", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("bitwise_not", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    # Functions of several values, element by element
    Kind("sum", "itself", "nothing", "nothing", family="join", commutes=True, sign="kept", whole=True),
    Kind("product", "itself", "factors", "nothing", family="join", commutes=True, sign="kept", whole=True),
    Kind("div", "itself", "factors", "nothing"),
    Kind("lerp", "itself", "inputs", "nothing"),
    Kind("maximum", "itself", "inputs", "nothing", family="activation", whole=True),
    Kind("minimum", "itself", "inputs", "nothing", whole=True),
    Kind("where", "itself", "input", "nothing", whole=True),
    # Pools and reductions
    Kind("global_avgpool", "map", "nothing", "nothing", family="pool", sign="kept"),
    Kind("adaptive_max_pool2d", "map", "input", "nothing", family="pool"),
    Kind("mean", "axes", "nothing", "nothing", family="pool"),
    Kind("total", "axes", "nothing", "nothing", family="pool"),
    Kind("amax", "axes", "input and output", "nothing", family="pool", called="max"),
    Kind("amin", "axes", "input and output", "nothing", called="min"),
    Kind("max", "axes", "nothing", "nothing"),
    Kind("min", "axes", "nothing", "nothing"),
    Kind("argmax", "axes", "nothing", "nothing", element_bytes=INDEX_BYTES),
    Kind("var", "axes", "input", "nothing"),
    Kind("var_mean", "axes", "input", "nothing"),
    Kind("std", "axes", "input and output", "nothing"),
    Kind("linalg_vector_norm", "axes", "input and output", "nothing"),
    Kind("cumsum", "not followed", "nothing", "nothing"),
    # Moving elements
    Kind("reshape", "moved", "view", "nothing", moves=True, worth=1.0, sign="kept"),
    Kind("permute", "moved", "view", "nothing", moves=True, sign="kept"),
    Kind("expand", "moved", "view", "nothing", moves=True),
    Kind("slice", "window", "view", "nothing", moves=True, sign="kept"),
    Kind("view", "not followed", "view", "nothing", moves=True),
    Kind("pad", "window", "nothing", "nothing", moves=True),
    Kind("part", "not followed", "view", "nothing"),
    Kind("as_strided", "not followed", "view", "nothing"),
    Kind("concat", "joined", "nothing", "nothing", family="join", sign="kept", whole=True),
    Kind("write", "not followed", "view", "nothing"),
    Kind("detach", "itself", "view", "nothing", moves=True, sign="kept"),
    Kind("roll", "not followed", "nothing", "nothing"),
    Kind("flip", "not followed", "nothing", "nothing"),
    Kind("index", "not followed", "index", "nothing", whole=True),
    Kind("index_select", "not followed", "index", "nothing", whole=True),
    Kind("gather", "not followed", "inputs", "nothing", whole=True),
    Kind("arange", "itself", "nothing", "nothing", element_bytes=INDEX_BYTES),
    Kind("reflection_pad2d", "window", "input", "nothing"),
    Kind("replication_pad2d", "window", "input", "nothing"),
    Kind("pixel_shuffle", "larger", "nothing", "nothing"),
    Kind("upsample_nearest2d", "larger", "nothing", "nothing"),
    Kind("upsample_bilinear2d", "larger", "nothing", "nothing"),
    # Places, order and masks
    Kind("masked_fill", "itself", "index", "nothing", whole=True),
    Kind("tril", "itself", "nothing", "nothing"),
    Kind("triu", "itself", "nothing", "nothing"),
    Kind("argmin", "axes", "nothing", "nothing", element_bytes=INDEX_BYTES),
    Kind("sort", "axes", "nothing", "nothing"),
    Kind("topk", "axes", "nothing", "nothing"),
    Kind("any", "axes", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("all", "axes", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("logical_not", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("logical_and", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("logical_or", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("bitwise_and", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("bitwise_or", "itself", "nothing", "nothing", element_bytes=MASK_BYTES),
    Kind("linspace", "itself", "nothing", "nothing"),
    Kind("tile", "not followed", "nothing", "nothing"),
    Kind("scatter", "not followed", "index", "nothing"),
    Kind("scatter_add", "not followed", "index", "nothing"),
    Kind("index_add", "not followed", "index", "nothing"),
    Kind("im2col", "not followed", "nothing", "nothing"),
    Kind("col2im", "not followed", "nothing", "nothing"),
    Kind("grid_sampler_2d", "not followed", "inputs", "nothing"),
    Kind("upsample_bicubic2d", "not followed", "nothing", "nothing"),
    Kind("upsample_nearest1d", "larger", "nothing", "nothing"),
    Kind("upsample_nearest3d", "larger", "nothing", "nothing"),
    Kind("upsample_linear1d", "larger", "nothing", "nothing"),
    Kind("upsample_trilinear3d", "larger", "nothing", "nothing"),
    Kind("max_pool3d_with_indices", "window", "input", "nothing", family="pool"),
    Kind("avg_pool3d", "window", "input", "nothing", family="pool"),
    Kind("_adaptive_avg_pool3d", "map", "input", "nothing", family="pool"),
    Kind("adaptive_max_pool3d", "map", "input", "nothing", family="pool"),
    Kind("reflection_pad1d", "window", "input", "nothing", moves=True),
    Kind("reflection_pad3d", "window", "input", "nothing", moves=True),
    Kind("replication_pad1d", "window", "input", "nothing", moves=True),
    Kind("replication_pad3d", "window", "input", "nothing", moves=True),
    Kind("pixel_unshuffle", "not followed", "nothing", "nothing"),
    Kind("remainder", "itself", "nothing", "nothing", whole=True),
    Kind("fmod", "itself", "nothing", "nothing"),
    Kind("tan", "itself", "output", "nothing", periodic=True),
    Kind("atan2", "itself", "inputs", "nothing"),
    Kind("cumprod", "not followed", "input and output", "nothing"),
    Kind("prod", "axes", "input and output", "nothing"),
    Kind("logsumexp", "axes", "input and output", "nothing"),
    Kind("std_mean", "axes", "input and output", "nothing"),
    Kind("_weight_norm_interface", "not followed", "inputs", "nothing", called="weight_norm"),
    Kind("eye", "itself", "nothing", "nothing"),
    Kind("diagonal", "not followed", "view", "nothing"),
    Kind("unfold", "not followed", "view", "nothing"),
    Kind("floor_divide", "itself", "nothing", "nothing"),
    Kind("bincount", "not followed", "nothing", "nothing", element_bytes=INDEX_BYTES),
    Kind("histc", "not followed", "nothing", "nothing"),
    Kind("nonzero", "not followed", "nothing", "nothing", element_bytes=INDEX_BYTES),
    Kind("_unique2", "not followed", "nothing", "nothing"),
    Kind("index_put", "not followed", "index", "nothing"),
    Kind("_upsample_bilinear2d_aa", "not followed", "nothing", "nothing"),
    Kind("_upsample_bicubic2d_aa", "not followed", "nothing", "nothing"),
    Kind("torchvision::nms", "not followed", "nothing", "nothing", element_bytes=INDEX_BYTES, sized_by_values=True),
    Kind("torchvision::roi_align", "not followed", "index", "nothing"),
):
    enter(_row)
