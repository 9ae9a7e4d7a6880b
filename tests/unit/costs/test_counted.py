"""Totals that know whether they are whole: what no rule counts, what is ignored, and rules of somebody's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import rv_check
from rv_check import RvCheckError
from rv_check.blocks.totals import totals
from rv_check.costs import memory, roofline
from rv_check.costs.counted import Counted
from rv_check.costs.operations import counted, macs_of, operations
from rv_check.costs.own_rules import own_rules
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from rv_check.ops.kinds import KINDS
from tests.unit.measured_memory import measured_for_backward, measured_peak
from tests.unit.own_operators import SPACE, Mixing, Plain, Twice, Wide, mix

IMAGE = (3, 8, 8)
MIX, TWICE = f"{SPACE}::mix", f"{SPACE}::twice"
CONV, MIXED, LINEAR = 4 * 36 * 27, 6 * 36 * 4, 12  # 4 maps of 6x6 by 3x3x3; 6 maps of 4 at each of 36 places; 6 to 2
RULE = "y[1] * y[2] * y[3] * weight[1]"


def graph(module: nn.Module, *, training: bool = False, batch: int = 1) -> Graph:
    """What it does, as it runs."""
    return Subject(module).observe(At(IMAGE, batch=batch, training=training), Form.AS_RUN)


def test_a_part_is_no_whole() -> None:
    """Two kinds without a rule: the rest is known to whoever asks for the least, and an error to all others."""
    found = rv_check.macs(Mixing(), IMAGE)
    assert not found.is_whole
    assert found.at_least == CONV + LINEAR
    assert [(one.kind, one.x, one.y) for one in found.uncounted] == [
        (MIX, ((1, 4, 6, 6),), (1, 6, 6, 6)),
        *[(TWICE, ((1, 6, 6, 6),), (1, 6, 6, 6))] * 2,
    ]
    for total in (lambda: found.total, lambda: found.backward, lambda: found.by("op"), lambda: found.counted.whole):
        with pytest.raises(
            RvCheckError, match=f"no rule counts the operation '{MIX}'.*own_operators.py:\\d+"
        ) as raised:
            total()
        assert len(raised.value.details) == 2


WHOLE: dict[str, Callable[[], Any]] = {
    "operations": lambda: operations(graph(Mixing())),
    "the totals of a block": lambda: totals(graph(Mixing()), ()),
    "the roofline": lambda: roofline.costs(graph(Mixing())),
    "memory": lambda: memory.memory(graph(Mixing(), training=True), graph(Mixing())),
    "what is kept": lambda: list(memory.kept_for_backward(graph(Mixing(), training=True))),
}


@pytest.mark.parametrize("ask", WHOLE.values(), ids=WHOLE)
def test_whoever_needs_a_whole_gets_no_part(ask: Callable[[], Any]) -> None:
    """What other commands build upon refuses."""
    with pytest.raises(RvCheckError, match=MIX):
        ask()


def test_a_part_is_not_taken_by_mistake() -> None:
    """What holds it can be neither summed nor gone through; of an operation without a rule there is no number."""
    found: Any = counted(graph(Mixing()))
    assert isinstance(found, Counted)
    for take in (sum, list, len):
        with pytest.raises(TypeError):
            take(found)
    assert [macs_of(node) for node in graph(Mixing()).ran if node.kind == TWICE] == [None, None]


def test_what_is_ignored_is_nothing() -> None:
    """One of two is not enough; both make it whole, and are told with their number."""
    assert [one.kind for one in rv_check.macs(Mixing(), IMAGE, ignore=[TWICE]).uncounted] == [MIX]
    found = rv_check.macs(Mixing(), IMAGE, ignore=[TWICE, MIX])
    assert (found.total, found.counted.ignored) == (CONV + LINEAR, {TWICE: 2, MIX: 1})
    assert f"ignored: {MIX} x 1, {TWICE} x 2" in str(found)


@pytest.mark.parametrize(("groups", "macs"), [(1, MIXED), (2, MIXED // 2)])
def test_a_rule_of_ones_own(groups: int, macs: int) -> None:
    """By hand; as torch counts it that is told the same; and in both passes as if it were a layer of torch's."""
    module = Mixing(groups)
    found = rv_check.macs(module, IMAGE, rules={MIX: RULE}, ignore=[TWICE])
    assert found.total == CONV + macs + LINEAR

    def flops(x: Any, weight: Any, groups: int = 1, **_: Any) -> int:
        return 2 * x[2] * x[3] * weight[0] * weight[1]

    with FlopCounterMode(display=False, custom_mapping={getattr(torch.ops, SPACE).mix: flops}) as counter:
        module(torch.zeros(1, *IMAGE))
    assert counter.get_total_flops() == 2 * found.total
    plain = rv_check.macs(Plain(groups), IMAGE)
    assert (found.total, found.backward) == (plain.total, plain.backward)
    other = rv_check.macs(module, IMAGE, rules={MIX: f"{RULE} // 2"}, ignore=[TWICE])
    assert other.total == CONV + macs // 2 + LINEAR


def test_the_names_in_a_rule() -> None:
    """Shapes with the batch's axis, those of parameters and the numbers by the names that the operator has for them."""
    rules = {MIX: "1000 * x[0] + 100 * x[1] + 10 * weight[0] + groups", TWICE: "x[3] - y[3]"}
    found = rv_check.macs(Mixing(2), IMAGE, rules=rules)
    assert found.total == CONV + 1000 + 400 + 60 + 2 + LINEAR
    assert found.by("op")[MIX] == 1462


def test_further_inputs() -> None:
    """A weight that is computed is a second input."""

    class Computed(Mixing):
        def forward(self, x: Any) -> Any:
            return mix(self.conv(x), 2 * self.kernel)

    assert rv_check.macs(Computed(), IMAGE, rules={MIX: "x[1] * x2[0]"}).total == CONV + 4 * 6


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no expression": ({"rules": {MIX: "x[1] *"}}, f"the rule of {MIX}: 'x\\[1\\] \\*' is not an expression"),
    "not in the language": ({"rules": {MIX: "x[1] ** 2"}}, "'x\\[1\\] \\*\\* 2' is not in the language"),
    "no such name": (
        {"rules": {MIX: "stride * 2"}},
        "unknown name 'stride'\n   *stride \\* 2\n(.|\n)*x, y, groups, weight",
    ),
    "no such axis": ({"rules": {MIX: "x[4]"}}, "own_operators.py:\\d+: x has 4 entries, and none at index 4"),
    "a fraction": ({"rules": {MIX: "x[1] / 3"}}, "x\\[1\\] / 3 is 4/3(.|\n)*expected: an integer"),
    "a shape": ({"rules": {MIX: "x"}}, "x is the list \\[1, 4, 6, 6\\]"),
    "below 0": ({"rules": {MIX: "0 - x[1]"}}, "0 - x\\[1\\] is -4"),
    "by 0": ({"rules": {MIX: "1 // (x[1] - 4)"}}, "division by zero"),
    "of nothing": ({"rules": {"mix": "1"}}, f"there is no operation 'mix'(.|\n)*expected: {MIX}, {TWICE}"),
    "of what is counted": ({"rules": {"conv": "1"}}, "'conv' has a rule here already"),
    "ignored, of nothing": (
        {"ignore": [f"{SPACE}::twic"]},
        f"no operation '{SPACE}::twic'(.|\n)*did you mean: {TWICE}",
    ),
    "ignored, though counted": ({"ignore": ["linear"]}, "'linear' has a rule here already"),
}


@pytest.mark.parametrize(("said", "words"), WRONG.values(), ids=WRONG)
def test_error_a_rule_that_is_none(said: dict[str, Any], words: str) -> None:
    """It says which rule, where in it, and what would be right."""
    with pytest.raises(RvCheckError, match=words):
        rv_check.macs(Mixing(), IMAGE, **said)


def test_error_nothing_to_ignore() -> None:
    """Where all is counted, nothing can be ignored."""
    with pytest.raises(RvCheckError, match=r"(?s)no operation 'own'.*expected: none, since every operation has a rule"):
        rv_check.macs(Plain(), IMAGE, ignore=["own"])
    with pytest.raises(RvCheckError, match="no operation 'own'"):
        rv_check.memory(Plain(), IMAGE, ignore=["own"])


def test_an_output_that_does_not_see_the_input_is_an_error_all_the_same() -> None:
    """No part of a total is told of it."""

    class Blind(Mixing):
        def forward(self, x: Any) -> Any:
            return mix(self.conv(torch.zeros_like(x, requires_grad=False)), self.kernel)

    with pytest.raises(RvCheckError, match="the output does not depend on the input"):
        rv_check.macs(Blind(), IMAGE, ignore=[MIX])


# Bytes


@pytest.mark.parametrize("make", [Mixing, Wide, Twice])
def test_memory_is_at_least_that(make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """What autograd is measured to keep is no less: of a view it keeps the memory below, and not the view."""
    monkeypatch.delitem(KINDS, "expand")
    found = rv_check.memory(make(), IMAGE, batch=2)
    assert not found.is_whole
    real = measured_for_backward(make().train(), torch.zeros(2, *IMAGE))
    assert 0 < found.at_least.activations <= real
    assert 0 < found.at_least.peak <= measured_peak(make().eval(), torch.zeros(2, *IMAGE))
    with pytest.raises(RvCheckError, match=r"it is not known what .* keeps for its backward pass"):
        _ = found.bytes


def test_the_least_would_be_too_much_with_a_view_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: with what a view gives there is too much."""
    monkeypatch.delitem(KINDS, "expand")
    training = graph(Wide(), training=True, batch=2)
    real = measured_for_backward(Wide().train(), torch.zeros(2, *IMAGE))
    assert sum(size for _, size in memory.kept_for_backward(training, ignored=["expand"])) > real
    peak = measured_peak(Wide().eval(), torch.zeros(2, *IMAGE))
    assert memory.least_peak(graph(Wide(), batch=2)) > peak


def test_what_keeps_nothing_makes_it_whole() -> None:
    """As measured, where the operator keeps nothing; the image, 3 * 64, and the sigmoid's output, 4 * 36, of two."""
    found = rv_check.memory(Twice(), IMAGE, batch=2, ignore=[TWICE])
    assert found.bytes.activations == 4 * 2 * (3 * 64 + 4 * 36)
    assert found.bytes.activations == measured_for_backward(Twice().train(), torch.zeros(2, *IMAGE))
    assert found.counted.ignored == {TWICE: 1}


def test_an_operator_of_eval_mode_alone() -> None:
    """The peak is that of eval mode, and is the least where it is not known what is done there."""

    class Evaluated(Twice):
        def forward(self, x: Any) -> Any:
            return self.conv(x) if self.training else super().forward(x)

    found = rv_check.memory(Evaluated(), IMAGE)
    assert [one.kind for one in found.uncounted] == [TWICE]
    assert rv_check.memory(Evaluated(), IMAGE, ignore=[TWICE]).is_whole


def test_what_is_ignored_may_have_a_rule() -> None:
    """Then the rule says what it multiplies, and that it is ignored, that it keeps nothing."""
    own = own_rules({TWICE: "y[1]"}, [TWICE])
    found = counted(graph(Twice()), own)
    assert (sum(one.macs for one in found.whole), found.ignored) == (4 * 36 * 27 + 4, {})
    kept = memory.counted_memory(graph(Twice(), training=True), graph(Twice()), ignored=own.ignored)
    assert (kept.is_whole, kept.ignored) == (True, {TWICE: 1})


def test_a_rule_says_nothing_of_bytes() -> None:
    """What an operator multiplies is not what it keeps; and rules are no business of memory."""
    own = own_rules({MIX: RULE}, [TWICE])
    training = graph(Mixing(), training=True)
    found = memory.counted_memory(training, graph(Mixing()), ignored=own.ignored)
    assert [one.kind for one in found.uncounted] == [MIX]


def test_the_roofline_with_rules() -> None:
    """By them it is whole, and what is ignored moves nothing."""
    costs = roofline.costs(graph(Mixing()), own=own_rules({MIX: RULE}, [TWICE]))
    assert {cost.node.kind: cost.macs for cost in costs}[MIX] == MIXED
    assert TWICE not in [cost.node.kind for cost in costs]
