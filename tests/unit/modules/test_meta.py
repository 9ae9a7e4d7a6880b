"""Operators on meta: what is remembered is what the operator gives, and what it depends on is not forgotten."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rv_check.modules import meta

ops = torch.ops.aten
VIEWS = ("alias", "as_strided_", "detach", "expand", "permute", "select", "slice", "split", "squeeze", "t", "transpose")
VIEWS += ("unsqueeze", "view", "_unsafe_view")
FACTORIES = ("empty", "scalar_tensor")


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta, "_known", {})


def on_meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of that shape."""
    return torch.empty(shape, dtype=dtype, device="meta")


def told(result: Any) -> Any:
    """All that can be seen of a result on meta."""
    if isinstance(result, Tensor):
        return type(result), tuple(result.shape), result.stride(), result.storage_offset(), result.dtype, result.device
    return [told(one) for one in result] if isinstance(result, list | tuple) else result


class Asked:
    """An operator that counts how often it is asked. It is equal to the operator itself."""

    def __init__(self, func: Any):
        self.func, self.namespace, self.times = func, func.namespace, 0

    def __eq__(self, other: object) -> bool:
        return self.func is getattr(other, "func", other)

    def __hash__(self) -> int:
        return hash(self.func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.times += 1
        return self.func(*args, **kwargs)


def times(func: Any, *calls: Sequence[Any]) -> int:
    """How often an operator is asked in so many calls, each of which gives what it gives."""
    asked = Asked(func)
    for args in calls:
        expected = told(func(*(one.clone() if isinstance(one, Tensor) else one for one in args)))
        assert told(meta.run(asked, args, {})) == expected
    return asked.times


class Both(TorchDispatchMode):
    """Runs each operator, and what is remembered of it, which must be the same."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.remembered: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        expected = func(*args, **kwargs)
        meta.run(func, args, kwargs)
        asked = Asked(func)
        result = meta.run(asked, args, kwargs)
        assert told(result) == told(expected), func
        self.seen[str(func)] += 1
        self.remembered[str(func)] += not asked.times
        return result


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "densenet121", "googlenet", "vit_b_32", "swin_t", "convnext_tiny"]
)
def test_what_is_remembered_is_what_torch_gives(name: str, training: bool) -> None:
    """Of every operator of real networks; all of them are, but views and what is made of nothing."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how googlenet starts
        model = torchvision.models.get_model(name, weights=None).train(training)
    with torch.no_grad(), Both() as both:
        model(on_meta(2, 3, 224, 224))
    forgotten = {func for func, count in both.seen.items() if both.remembered[func] < count}
    assert {func.split(".")[1] for func in forgotten} <= {*VIEWS, *FACTORIES}
    assert both.remembered["aten.convolution.default"] == both.seen["aten.convolution.default"] > 0


def test_it_is_asked_once() -> None:
    """For tensors of the same shapes, strides and types, and other arguments of the same values and types."""
    x, weight = on_meta(2, 3, 8, 8), on_meta(4, 3, 3, 3)

    def conv(stride: int, image: Tensor = x) -> Sequence[Any]:
        return image, weight, None, [stride] * 2, [1, 1], [1, 1], False, [0, 0], 1

    func = ops.convolution.default
    assert times(func, conv(1), conv(1), conv(1, on_meta(2, 3, 8, 8))) == 1
    assert times(func, conv(2), conv(2, on_meta(2, 3, 9, 9)), conv(2, x.to(memory_format=torch.channels_last))) == 3


def test_numbers_of_another_type_are_other_numbers() -> None:
    """1, 1.0 and True are equal, and what is computed with them is of another type."""
    x = on_meta(3, dtype=torch.int64)
    assert times(ops.add.Scalar, (x, 1), (x, 1.0), (x, True), (x, 1), (x, 1.0), (x, True)) == 3


def test_the_default_type_counts() -> None:
    """An integer divided is of the default type."""
    x = on_meta(3, dtype=torch.int64)
    assert meta.run(ops.div.Scalar, (x, 2), {}).dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert meta.run(ops.div.Scalar, (x, 2), {}).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def views() -> Iterator[tuple[str, Any, Sequence[Any]]]:
    """Operators whose result shares memory with what they are given, though not all of them say so."""
    x = on_meta(2, 6)
    yield "view", ops.view.default, (x, [12])
    yield "unsafe view", ops._unsafe_view.default, (x, [12])
    yield "slice", ops.slice.Tensor, (x, 1, 0, 3)
    yield "split", ops.split.Tensor, (x, 3, 1)
    yield "detach", ops.detach.default, (x,)


@pytest.mark.parametrize(("func", "args"), [one[1:] for one in views()], ids=[one[0] for one in views()])
def test_views_are_made_each_time(func: Any, args: Sequence[Any]) -> None:
    """They are of the tensor that is given, and of no other."""
    for _ in range(2):
        given = on_meta(2, 6)
        result = meta.run(func, (given, *args[1:]), {})
        for one in result if isinstance(result, list | tuple) else [result]:
            assert one.untyped_storage()._cdata == given.untyped_storage()._cdata


def test_in_place_it_is_the_tensor_itself() -> None:
    """What works in place returns what it was given."""
    asked = Asked(ops.hardswish_.default)
    for _ in range(2):
        x = on_meta(2, 3)
        assert meta.run(asked, (x,), {}) is x
    assert asked.times == 1


@pytest.mark.parametrize(
    ("func", "arguments"),
    [
        (ops.t_.default, ()),
        (ops.squeeze_.default, ()),
        (ops.unsqueeze_.default, (0,)),
        (ops.as_strided_.default, ([3], [1])),
        (ops.resize_.default, ([5, 7],)),
    ],
)
def test_what_changes_its_argument_changes_each(func: Any, arguments: Sequence[Any]) -> None:
    """What gives a tensor other axes has to do so each time."""
    for _ in range(3):
        x, expected = on_meta(1, 4), on_meta(1, 4)
        func(expected, *arguments)
        assert meta.run(func, (x, *arguments), {}) is x
        assert told(x) == told(expected)


def test_out_is_written_each_time() -> None:
    """A result that is given is returned, in the shape that it has then."""
    for _ in range(2):
        x, out = on_meta(2, 3), on_meta(0)
        assert meta.run(ops.add.out, (x, x), {"out": out}) is out
        assert out.shape == (2, 3)


def test_error_what_torch_refuses() -> None:
    """It is refused each time, whatever was remembered before."""

    def norm(channels: int) -> Sequence[Any]:
        return on_meta(2, 3, 4, 4), *(on_meta(channels) for _ in range(4)), True, 0.1, 1e-5

    for _ in range(2):
        meta.run(ops.native_batch_norm.default, norm(3), {})
        with pytest.raises(RuntimeError):
            meta.run(ops.native_batch_norm.default, norm(4), {})


def test_what_is_not_on_meta_is_computed() -> None:
    """A tensor on another device is no argument whose values are of no matter, nor is a generator."""
    func = ops.add.Tensor
    for value in (1.0, 2.0):
        assert meta.run(func, (torch.tensor(value), torch.tensor(value)), {}).item() == 2 * value
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    x = torch.empty(3, device="meta")
    asked = Asked(ops.bernoulli_.float)
    for _ in range(2):
        meta.run(asked, (x, 0.5), {"generator": generator})
    assert asked.times == 2
    assert torch.equal(state, generator.get_state())


def test_operators_of_others_are_asked_each_time() -> None:
    """What one that is not torch's looks at is not known."""
    with torch.library._scoped_library("rv_check_test_meta", "DEF") as library:
        library.define("grows(Tensor x) -> Tensor")
        sizes = iter((1, 2))
        library.impl("grows", lambda x: x.new_empty(next(sizes)), "Meta")
        func = torch.ops.rv_check_test_meta.grows.default
        assert [meta.run(func, (on_meta(3),), {}).shape[0] for _ in range(2)] == [1, 2]


def test_no_more_is_remembered_than_is_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of results it begins anew."""
    monkeypatch.setattr(meta, "MOST", 3)
    for size in range(1, 9):
        assert meta.run(ops.relu.default, (on_meta(size),), {}).shape == (size,)
        assert 1 <= len(meta._known) <= 3
