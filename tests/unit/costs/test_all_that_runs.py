"""Whatever runs is counted: what depends on no input, what Python reads, what is thrown away. Worked by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rv_check.costs.operations import operations
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.modules.calls import step_by_step
from rv_check.modules.network import ModuleNetwork
from rv_check.modules.observe import Subject

Forward = Callable[[Any, Tensor], Any]


class Net(nn.Module):
    """A function of its parts and of the input."""

    def __init__(self, forward: Forward, **parts: Any):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def total(module: nn.Module, size: tuple[int, ...]) -> int:
    """Multiply-adds of one image."""
    graph = ModuleNetwork(Subject(module)).graph(At(size, batch=1), Form.AS_RUN)
    return sum(one.macs for one in operations(graph))


def linear(inner: int = 16, out: int = 16) -> nn.Linear:
    """A layer without a bias."""
    return nn.Linear(inner, out, bias=False)


def attends(net: Any, x: Tensor) -> Tensor:
    """4 learned queries attend to 10 keys."""
    return (net.q(net.queries) @ net.k(x).transpose(1, 2)).softmax(-1) @ net.v(x)


def exits_early(net: Any, x: Tensor) -> Tensor:
    """A first classifier says whether to go on."""
    y = net.conv(x).mean((2, 3))
    return net.first(y) if net.first(y).softmax(1).max().item() > 2 else net.last(y)


def exits_by_bool(net: Any, x: Tensor) -> Tensor:
    """Likewise, without a number."""
    y = net.conv(x).mean((2, 3))
    return net.first(y) if (net.first(y).softmax(1) > 2).any() else net.last(y)


def goes_on_until(net: Any, x: Tensor) -> Tensor:
    """As long as it is small, which it is."""
    for _ in range(3):
        x = net.linear(x).tanh()
        if x.abs().max() > 1:
            break
    return x


def places(net: Any, x: Tensor) -> Tensor:
    """Sines of positions, at rates that are a power of a number."""
    rates = 10000 ** (torch.arange(8, device=x.device) / 8)
    angles = torch.arange(8, device=x.device)[:, None] / rates
    return net.linear(x + torch.cat((angles.sin(), angles.cos()), 1))


def generates(net: Any, x: Tensor) -> Tensor:
    """As a generator that begins with a learned constant: 9*4*8 weights at 64 places, and 16*8 for the style."""
    return net.conv(net.constant) * net.style(x)[..., None, None]


CONV = {"conv": nn.Conv2d(3, 8, 3, padding=1, bias=False)}
COUNTED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    # An LSTM of 6 -> 5 multiplies 4*5*(6+5) = 220 at each step, also with the zeros that it begins with.
    "an LSTM": (lambda: Net(lambda n, x: n.net(x)[0], net=nn.LSTM(6, 5, batch_first=True)), (1, 6), 220),
    "an LSTM of three steps": (lambda: Net(lambda n, x: n.net(x)[0], net=nn.LSTM(6, 5, batch_first=True)), (3, 6), 660),
    "a GRU": (lambda: Net(lambda n, x: n.net(x)[0], net=nn.GRU(6, 5, batch_first=True)), (1, 6), 3 * 5 * 11),
    "a cell": (lambda: Net(lambda n, x: n.cell(x)[0], cell=nn.LSTMCell(6, 5)), (6,), 220),
    "learned queries": (
        lambda: Net(attends, queries=nn.Parameter(torch.randn(4, 16)), q=linear(), k=linear(), v=linear()),
        (10, 16),
        4 * 16 * 16 + 2 * 10 * 16 * 16 + 2 * 4 * 10 * 16,
    ),
    "a learned constant": (
        lambda: Net(
            generates,
            constant=nn.Parameter(torch.randn(1, 4, 8, 8)),
            conv=nn.Conv2d(4, 8, 3, padding=1, bias=False),
            style=linear(16, 8),
        ),
        (16,),
        9 * 4 * 8 * 64 + 16 * 8,
    ),
    "a network of positions": (
        lambda: Net(lambda n, x: x + n.net(torch.linspace(0, 1, 10).to(x)[:, None]), net=linear(1, 16)),
        (10, 16),
        10 * 16,
    ),
    "a power of a number": (lambda: Net(places, linear=linear()), (8, 16), 8 * 16 * 16),
    "what Python reads": (
        lambda: Net(exits_early, **CONV, first=nn.Linear(8, 10), last=nn.Linear(8, 10)),
        (3, 8, 8),
        9 * 3 * 8 * 64 + 2 * 8 * 10,
    ),
    "what Python asks": (
        lambda: Net(exits_by_bool, **CONV, first=nn.Linear(8, 10), last=nn.Linear(8, 10)),
        (3, 8, 8),
        9 * 3 * 8 * 64 + 2 * 8 * 10,
    ),
    "a loop that Python ends": (lambda: Net(goes_on_until, linear=linear()), (16,), 3 * 16 * 16),
    "what is thrown away": (lambda: Net(lambda n, x: (n.a(x), n.b(x))[1], a=linear(), b=linear()), (16,), 2 * 16 * 16),
    "weights that are computed": (
        lambda: Net(lambda n, x: F.linear(x, n.a.weight @ n.b.weight), a=linear(), b=linear()),
        (16,),
        16 * 16 * 16 + 16 * 16,
    ),
}


@pytest.mark.parametrize(("make", "size", "macs"), COUNTED.values(), ids=COUNTED)
def test_it_is_counted(make: Callable[[], nn.Module], size: tuple[int, ...], macs: int) -> None:
    """Every multiply-add, and each once."""
    assert total(make(), size) == macs


def through_numpy(net: Any, x: Tensor) -> Tensor:
    """Numbers leave torch, and come back."""
    return net.last(torch.from_numpy(net.conv(x).mean((2, 3)).detach().numpy()))


UNSEEN: dict[str, tuple[Forward, str]] = {
    "numpy": (through_numpy, "; what sees it ends with mean at "),
    "a number": (lambda n, x: n.last(torch.full((1, 8), n.conv(x).sum().item())), "; what sees it ends with total at "),
    "a list": (lambda n, x: n.last(torch.tensor(n.conv(x).mean((2, 3)).tolist())), "; what sees it ends with "),
    "nothing": (lambda n, x: n.last(torch.ones(1, 8)), ""),
}


@pytest.mark.parametrize(("forward", "words"), UNSEEN.values(), ids=UNSEEN)
def test_error_an_output_that_does_not_see_the_input(forward: Forward, words: str) -> None:
    """It is an error, never a total that is too small; where torch is left is said."""
    with pytest.raises(RvCheckError) as raised:
        total(Net(forward, **CONV, last=nn.Linear(8, 10)), (3, 8, 8))
    assert f"the output does not depend on the input{words}" in str(raised.value)
    assert ("test_all_that_runs.py" in str(raised.value)) == bool(words)


def chooses(net: Any, x: Tensor) -> Tensor:
    """One layer or two, as `torch.cond` says."""
    wide = torch.cond(x.sum() > net.limit, lambda x: net.a(x), lambda x: net.b(net.a(x)), (x,))
    return net.last(wide)


def repeats(net: Any, x: Tensor) -> Tensor:
    """A layer three times, as `while_loop` counts."""

    def body(at: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return at + 1, net.a(x)

    _, x = torch._higher_order_ops.while_loop(lambda at, x: at < 3, body, (torch.zeros((), dtype=torch.int64), x))
    return net.last(x)


@pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
@pytest.mark.parametrize(
    ("forward", "limit", "macs"),
    [(chooses, -1e9, 16 * 16 + 16 * 8), (chooses, 1e9, 2 * 16 * 16 + 16 * 8), (repeats, 0, 3 * 16 * 16 + 16 * 8)],
    ids=["one", "two", "three times"],
)
def test_operators_of_functions(forward: Forward, limit: float, macs: int) -> None:
    """The functions that are called are counted, as often as they are; those that are not are not."""
    module = Net(forward, a=linear(), b=linear(), last=nn.Linear(16, 8), limit=limit)
    assert total(module, (16,)) == macs


def test_error_an_operator_of_functions_that_is_not_followed() -> None:
    """It is named; it does not run unseen."""
    net = Net(lambda n, x: n.last(torch._higher_order_ops.map(n.last, x)), last=linear())
    with pytest.raises(RvCheckError, match=r"torch\.ops\.higher_order\.map_impl is not followed into the functions"):
        total(net, (4, 16))


NAMES = ("self", "kind", "shape", "tensors", "like", "arguments", "name", "inputs")
_number = itertools.count()


def odd(called: str = "odd", /, **numbers: int) -> tuple[str, Forward]:
    """An operator of somebody's own, whose arguments are called as those of the recorder are; its name in full."""
    space = f"rv_check_test_names_{next(_number)}"
    library = torch.library.Library(space, "DEF")
    library.define(f"{called}(Tensor x, {', '.join(f'int {name}' for name in NAMES)}) -> Tensor")
    for device in ("CPU", "Meta"):
        library.impl(called, lambda x, *numbers: x.clone(), device)
    func = getattr(getattr(torch.ops, space), called)
    given = dict.fromkeys(NAMES, 1) | numbers

    def forward(net: Any, x: Tensor) -> Tensor:
        assert library is not None  # it goes with its operators
        return net.linear(func(x, *given.values()))

    return f"{space}::{called}", forward


def test_arguments_of_any_name() -> None:
    """They are recorded with their values, whatever they are called."""
    for changed in ({}, *({name: 2} for name in NAMES)):
        kind, forward = odd(**changed)
        graph = Subject(Net(forward, linear=linear())).observe(At((16,)))
        (node,) = [node for node in graph.nodes if node.kind == kind]
        assert node.attributes == dict.fromkeys(NAMES, 1) | changed


@pytest.mark.parametrize("name", ["scale", "relu", "conv", "mm", "add_"])
def test_somebodys_operator_is_none_of_torchs(name: str) -> None:
    """What is called as an operation of torch's or of ours may do anything: it is not known what it costs."""
    kind, forward = odd(name)
    with pytest.raises(RvCheckError, match=f"no rule counts the operation '{kind}'"):
        total(Net(forward, linear=linear()), (16,))


# Products that are no layer's. By hand: rows x columns x what is summed.


def on_the_cpu(forward: Forward) -> Forward:
    """The same of a module that meta does not do for."""
    return lambda net, x: forward(net, x * (1 if x.sum().item() < 1e9 else 2))


def experts(net: Any, x: Tensor) -> Tensor:
    """Each of 10 rows to one of 2 experts, as a gate of 16x2 says; the experts have 16 columns each."""
    order = net.gate(x[0]).argmax(1).sort()
    ends = torch.bincount(order.values, minlength=2).cumsum(0).to(torch.int32)
    return F.grouped_mm(x[0][order.indices], net.weight, offs=ends)


PRODUCTS: dict[str, tuple[Forward, int]] = {
    "addmm": (lambda n, x: torch.addmm(n.row, x[0], x[0].t() @ x[0]), 16 * 16 * 10 + 10 * 16 * 16),
    "a scaled addmm": (lambda n, x: torch.addmm(n.row, x[0], n.square, beta=0.5, alpha=2), 10 * 16 * 16),
    "an addmm without what it adds": (lambda n, x: torch.addmm(n.row, x[0], n.square, beta=0), 10 * 16 * 16),
    "baddbmm": (lambda n, x: torch.baddbmm(n.square, x.transpose(1, 2), x, alpha=0.5), 16 * 16 * 10),
    "addbmm": (lambda n, x: torch.addbmm(n.square, x.transpose(1, 2), x), 16 * 16 * 10),
    "a matrix and a vector": (lambda n, x: x[0] @ n.row, 10 * 16),
    "a learned matrix and a vector": (lambda n, x: n.square @ x[0, 0], 16 * 16),
    "addmv": (lambda n, x: torch.addmv(n.row, n.square, x[0, 0]), 16 * 16),
    "two vectors": (lambda n, x: x[0, 0] @ n.row, 16),
    "vdot": (lambda n, x: torch.vdot(x[0, 0], n.row), 16),
    "a learned matrix from the left": (lambda n, x: n.square @ x[0].t(), 16 * 16 * 10),
    "an LSTM on the CPU": (on_the_cpu(lambda n, x: n.lstm(x)[0]), 10 * 4 * 5 * (16 + 5)),
    "an LSTM both ways": (on_the_cpu(lambda n, x: n.both(x)[0]), 10 * 4 * 5 * (2 * (16 + 5) + 2 * (10 + 5))),
    "attention on the CPU": (on_the_cpu(lambda n, x: F.scaled_dot_product_attention(x, x, x)), 2 * 10 * 10 * 16),
}


def products(forward: Forward) -> nn.Module:
    """A module that has what they need."""
    parts = {"lstm": nn.LSTM(16, 5, batch_first=True, bias=False)}
    parts["both"] = nn.LSTM(16, 5, 2, batch_first=True, bidirectional=True)
    return Net(forward, row=nn.Parameter(torch.ones(16)), square=nn.Parameter(torch.ones(16, 16)), **parts)


@pytest.mark.parametrize(("forward", "macs"), PRODUCTS.values(), ids=PRODUCTS)
def test_products(forward: Forward, macs: int) -> None:
    """Whatever torch calls it, on meta and on the CPU."""
    assert total(products(forward), (10, 16)) == macs
    assert total(products(on_the_cpu(forward)), (10, 16)) == macs


@pytest.mark.parametrize("name", [name for name in PRODUCTS if name.startswith(("a learned", "a scaled", "baddbmm"))])
def test_the_backward_pass_of_products(name: str) -> None:
    """What is learned has a gradient on either side of a product; by torch's counter, or one forward by hand."""
    forward, macs = PRODUCTS[name]
    module = products(forward)
    done = operations(Subject(module).observe(At((10, 16), batch=1), Form.AS_RUN))
    with FlopCounterMode(display=False) as counter:
        module(torch.ones(1, 10, 16)).sum().backward()
    backward = macs if "vector" in name else counter.get_total_flops() // 2 - macs  # torch's knows no vectors
    assert sum(one.backward for one in done) == backward


def test_experts() -> None:
    """Every row has one expert: 10 x 16 x 16, and the gate. The places of the experts have no gradient."""
    parts = {"gate": linear(16, 2), "weight": nn.Parameter(torch.ones(2, 16, 16))}
    done = operations(Subject(Net(experts, **parts)).observe(At((10, 16), batch=1), Form.AS_RUN))
    assert sum(one.macs for one in done) == 10 * 16 * 2 + 10 * 16 * 16
    (product,) = [one for one in done if one.kind == "grouped_matmul"]
    assert product.backward == 10 * 16 * 16  # for the weights: the image has none


def test_error_groups_of_columns() -> None:
    """What is summed is in groups: 16x16 for each of 2, from 4 rows each. It is not counted as if it were not."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = x[:, :8] * net.row
        return F.grouped_mm(x[0].t().contiguous(), x[0], offs=torch.tensor([4, 8], dtype=torch.int32))

    with pytest.raises(RvCheckError, match="no rule counts the operation '_grouped_mm'"):
        total(products(forward), (10, 16))


@pytest.mark.parametrize("bias", [True, False])
def test_an_lstm_step_by_step(bias: bool) -> None:
    """What stands for the kernel of a CPU gives its numbers."""
    torch.manual_seed(0)
    module = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True, bias=bias).eval()
    x, state = torch.randn(3, 4, 6), (torch.randn(4, 3, 5), torch.randn(4, 3, 5))
    seen: list[str] = []

    class Instead(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.mkldnn_rnn_layer.default:
                seen.append("kernel")
                return step_by_step(*args)
            return func(*args, **(kwargs or {}))

    with torch.no_grad():
        y, (hidden, cell) = module(x, state)
        with Instead():
            found = module(x, state)
    assert len(seen) == 4
    for one, other in ((found[0], y), (found[1][0], hidden), (found[1][1], cell)):
        torch.testing.assert_close(one, other)
