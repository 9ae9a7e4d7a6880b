"""Multiply-adds of whatever runs, from the shapes of the arguments of torch's operators. Nothing of rv_check is used.

Written apart from it, so that it can be held to this. A convolution is counted from its geometry, a product of matrices
from its factors. An operator that is neither a product nor known to be none is an error, so that
none is left out unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Count = Callable[..., int]


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    is_transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> int:
    """The whole filter of each pair of channels, at each place of the output, or of the input where it is transposed.

    A list of one stands for every axis. Zeros of the padding are multiplied like all else.
    """
    kernel = weight.shape[2:]
    if is_transposed:
        return x.shape[0] * prod(x.shape[2:]) * x.shape[1] * weight.shape[1] * prod(kernel)
    axes = len(kernel)
    step, pad, spread = (list(one) * axes if len(one) == 1 else one for one in (stride, padding, dilation))
    sizes = zip(x.shape[2:], kernel, step, pad, spread, strict=True)
    places = prod((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    return x.shape[0] * places * weight.shape[0] * (x.shape[1] // groups) * prod(kernel)


def deformed(x: Tensor, weight: Tensor, offset: Tensor, *more: Any) -> int:
    """A convolution whose windows are bent: there is an offset for each place of the output."""
    return x.shape[0] * prod(offset.shape[2:]) * weight.numel()


def matrices(a: Tensor, b: Tensor) -> int:
    """(..., n, k) by (..., k, m): n k m for each of the batch."""
    return prod(a.shape) * b.shape[-1]


def with_a_vector(a: Tensor, b: Tensor) -> int:
    """A matrix or a vector by a vector: each element of the first once."""
    return a.numel()


def grouped(rows: Tensor, weights: Tensor, ends: Tensor, *more: Any) -> int:
    """(n, k) by (groups, k, m), each row by the matrix of its group: n k m."""
    n, k = rows.shape
    return n * k * weights.shape[2]


def added(product: Count) -> Count:
    """A product that is added to the first argument."""
    return lambda value, *factors: product(*factors[:2])


def attention(query: Tensor, key: Tensor, value: Tensor, *more: Any) -> int:
    """(..., n, k), (..., m, k) and (..., m, v): n m k for the scores and n m v for what comes of them.

    Heads of keys that several of the queries share are counted for each of these; a mask leaves no product out.
    """
    *batch, n, k = query.shape
    m, v = value.shape[-2:]
    return prod(batch) * n * m * (k + v)


def lstm(x: Tensor, of_input: Tensor, of_state: Tensor, *more: Any) -> int:
    """(steps, batch, inputs): at each step both matrices, which have the rows of all four gates."""
    return prod(x.shape[:2]) * (of_input.numel() + of_state.numel())


FIRST_NINE, FIRST_TWO, ALL = 9, 2, None  # how many of its arguments a product is counted from
PRODUCTS: dict[str, tuple[Count, int | None]] = {
    "aten::convolution": (convolution, FIRST_NINE),
    "aten::mm": (matrices, FIRST_TWO),
    "aten::bmm": (matrices, FIRST_TWO),
    "aten::addmm": (added(matrices), ALL),
    "aten::baddbmm": (added(matrices), ALL),
    "aten::addbmm": (added(matrices), ALL),
    "aten::mv": (with_a_vector, ALL),
    "aten::addmv": (added(with_a_vector), ALL),
    "aten::dot": (with_a_vector, ALL),
    "aten::vdot": (with_a_vector, ALL),
    "aten::_grouped_mm": (grouped, ALL),
    "aten::_scaled_dot_product_flash_attention_for_cpu": (attention, ALL),
    "aten::mkldnn_rnn_layer": (lstm, ALL),
    "torchvision::deform_conv2d": (deformed, ALL),
}
NO_PRODUCTS = frozenset(  # beside those that torch itself says to go element by element, to reduce, or to be views
    f"aten::{name}"
    for name in (
        # Norms, pools, interpolation
        *("native_layer_norm", "native_group_norm", "_native_batch_norm_legit", "_weight_norm_interface"),
        *("_native_batch_norm_legit_no_training", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d"),
        *("avg_pool3d", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "upsample_bilinear2d", "upsample_bicubic2d"),
        *("upsample_linear1d", "_upsample_bicubic2d_aa", "grid_sampler_2d", "_softmax", "_safe_softmax"),
        # Elements that are moved, counted or put in order
        *("cat", "stack", "index", "_unsafe_index", "index_put_", "index_select", "gather", "embedding", "repeat"),
        *("roll", "flip", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "im2col", "col2im", "tril"),
        *("sort", "topk", "cumsum", "histc", "nonzero", "_unique2", "floor_divide", "_unsafe_view", "as_strided_"),
        *("unsafe_split", "copy_", "_to_copy", "_local_scalar_dense"),
        # Numbers that come from nowhere
        *("arange", "linspace", "eye", "empty", "empty_like", "full", "full_like", "new_full", "ones", "ones_like"),
        *("new_ones", "zeros", "zeros_like", "new_zeros", "scalar_tensor", "rand", "fill_", "zero_"),
        *("hardswish", "hardswish_"),
    )
) | {"torchvision::nms", "torchvision::roi_align"}
OF_ONE_ELEMENT_EACH = (torch.Tag.pointwise, torch.Tag.reduction)


class UnknownOperator(Exception):
    """It is not known whether an operator multiplies."""


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the multiply-adds of the operators that run within, by operator.

    Raises: UnknownOperator, before it runs.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.of: Counter[str] = Counter()
        self.is_stopped = False

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.of.values())

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        name = func._schema.name
        if name in PRODUCTS:
            count, first = PRODUCTS[name]
            self.of[name] += count(*args[:first])
        elif func._can_decompose():
            with self:
                return func.decompose(*args, **given)
        elif not (func.is_view or name in NO_PRODUCTS or any(tag in func.tags for tag in OF_ONE_ELEMENT_EACH)):
            self.is_stopped = True
            raise UnknownOperator(name)
        return func(*args, **given)
