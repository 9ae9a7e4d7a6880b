"""Blocks that exist as classes: right ones pass, each wrong one fails at the property that is about it."""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rv_check.blocks import check as check_of_blocks
from rv_check.blocks.check import BlockCheck, check_block
from rv_check.blocks.contract import BlockArch, block_arch, find_contract
from rv_check.blocks.properties import PROPERTIES, STACKED
from rv_check.checks.findings import Finding, Report
from rv_check.cli.commands import block
from rv_check.cli.main import answer, parse
from rv_check.errors import CannotRun, RvCheckError
from rv_check.language.vocabulary import PROPERTIES as NAMES
from tests.unit import wrong_blocks
from tests.unit.wrong_blocks import WRONG, BasicBlock, BottleneckBlock, PreActivation, SqueezeExcitation

pytest.importorskip("hypothesis")
FILE = Path(wrong_blocks.__file__)


def finding(report: Report, check: str) -> Finding:
    """The first finding of a check."""
    return next(one for one in report.findings if one.check == check)


def told(report: Report) -> list[tuple[str, str, str]]:
    """What did not pass."""
    return [(one.check, one.status, one.message) for one in report.findings if one.status != "passed"]


# Right blocks


FEW = 5  # cases drawn for a property: what the article's blocks are asked in many is asked of other right ones again


@cache
def of_article(cls: Any) -> Report:
    """What is found of a block of the article, of which nothing is told."""
    return check_block(cls)


def test_article_blocks_are_the_shipped_ones() -> None:
    """Structure and numbers of the article's blocks are those of the shipped ones, found out without being told."""
    for cls, against in ((BasicBlock, "basic"), (BottleneckBlock, "bottleneck")):
        report = of_article(cls)
        assert told(report) == []
        assert report.against == against
        assert {"structure", "trainable", "state_dict", "logits", "eval", "train"} <= {f.check for f in report.findings}
        assert all(len(report.map) == len(report.map.values()) > 0 for _ in report.map)
    assert report.map["bn3.weight"] == "block.7.weight"
    assert "call: in_channels=C, out_channels=4*width, stride=stride (inferred; --call ARGUMENTS)" in report.notes


def test_every_property_is_asked() -> None:
    """The language's names are those of the functions, and all but the slow one are asked unless it is named."""
    assert tuple(one.name for one in PROPERTIES) == NAMES
    asked = {one.check for one in of_article(BasicBlock).findings}
    assert asked >= set(NAMES) - {"compile"}
    assert "compile" not in asked
    assert all(one.words for one in PROPERTIES)


def test_torchvision_blocks() -> None:
    """The caller makes their projection; planes are a quarter of a bottleneck's output."""
    resnet = pytest.importorskip("torchvision.models.resnet")
    for cls, against in ((resnet.BasicBlock, "basic"), (resnet.Bottleneck, "bottleneck")):
        report = check_block(cls, examples=FEW)
        assert told(report) == []
        assert report.against == against
        assert report.notes[-2].startswith("call: inplanes=C, planes=width, stride=stride, downsample=projection")
        assert report.notes[-1].startswith("cases: width 4 to 12, stride 1 and 2, ")
    report = check_block(resnet.Bottleneck, "residual_block", properties=["shape", "shortcut", "residual"])
    assert told(report) == []
    assert report.notes[-2].startswith("call: inplanes=C, planes=out//4, ")


@pytest.mark.implementations
def test_timm_blocks() -> None:
    """Timm's have torchvision's arguments first."""
    resnet = pytest.importorskip("timm.models.resnet")
    for cls, against in ((resnet.BasicBlock, "basic"), (resnet.Bottleneck, "bottleneck")):
        report = check_block(cls)
        assert told(report) == []
        assert report.against == against


def test_other_blocks_hold_as_any_residual_block() -> None:
    """What is none of the shipped blocks is held to the contract of all, and the nearest one is named."""
    for cls, first in ((SqueezeExcitation, "1 difference: extra global_avgpool"), (PreActivation, "3 differences")):
        report = check_block(cls, examples=FEW)
        assert told(report) == []
        assert report.against == "residual_block"
        assert report.notes[1].startswith(f"nearest: basic, {first}")
    assert finding(check_block(SqueezeExcitation, "basic", properties=["structure"]), "structure").status == "failed"


# The figures of a 56x56 input, torch's flop counter and the arithmetic of the paper's tables agree on them:
# 2 * 64*64*9 + 4*64 = 73,984 and 2 * 64*64*9 * 56*56 = 231,211,008.
FIGURES = {
    "basic": (BasicBlock, "basic(64, stride=1)", "64 56 56", 73_984, 231_211_008),
    "basic, stride 2": (BasicBlock, "basic(128, stride=2)", "64 56 56", 230_144, 179_830_784),
    "bottleneck, projection": (BottleneckBlock, "bottleneck(64, stride=1)", "64 56 56", 75_008, 231_211_008),
    "bottleneck, stride 2": (BottleneckBlock, "bottleneck(128, stride=2)", "256 56 56", 379_392, 372_506_624),
    "bottleneck, stride 2 in the 1x1": (
        *(wrong_blocks.StrideInTheFirst1x1, "bottleneck_v1(128, stride=2)", "256 56 56", 379_392, 295_436_288),
    ),
}


@pytest.mark.parametrize(("cls", "contract", "size", "params", "macs"), FIGURES.values(), ids=FIGURES.keys())
def test_figures(cls: Any, contract: str, size: str, params: int, macs: int) -> None:
    """Parameters and multiply-adds of the class, and of the block that it is held to, are the known ones."""
    report = check_block(cls, contract, in_=size, properties=["cost"], examples=1)
    assert told(report) == []
    assert finding(report, "cost").message.startswith(f"{params:,} params, {macs:,} MACs at {size} (")
    found = find_contract(contract)
    arch = block_arch(found.block, found.fixed, tuple(map(int, size.split())))
    assert isinstance(arch, BlockArch)
    assert (arch.params, arch.macs) == (params, macs)


# Wrong blocks


def test_there_are_many_wrong_blocks() -> None:
    """Each by another name; every property has one of its own, but for the slow one."""
    assert len({cls for cls, *_ in WRONG}) == len(WRONG) >= 25
    assert {property_ for _, _, property_, _ in WRONG} == {*NAMES, "structure"} - {"compile"}


@pytest.mark.parametrize(
    ("cls", "contract", "property_", "words"), WRONG, ids=[f"{cls.__name__}-{name}" for cls, _, name, _ in WRONG]
)
def test_wrong_block(cls: type[nn.Module], contract: str, property_: str, words: str) -> None:
    """It is caught by the property that is about it, which says so, and in which case."""
    found = finding(check_block(cls, contract, properties=[property_]), property_)
    assert found.status == "failed"
    assert words in found.message
    assert "\ncase: width=4, stride=" in found.message


def test_right_blocks_pass_what_wrong_ones_fail() -> None:
    """The twin of the test above: the same properties hold of the block that all wrong ones are made from."""
    for contract, cls in (("basic", BasicBlock), ("bottleneck", BottleneckBlock)):
        passed = {one.check for one in of_article(cls).findings if one.status == "passed"}
        assert {name for _, against, name, _ in WRONG if against == contract} <= passed


def test_one_cause_is_one_failure() -> None:
    """What does not run at a stride fails there, and only there: other properties are asked where it runs."""
    assert [one[:2] for one in told(check_block(wrong_blocks.PoolsDownOddSizes, "residual_block", examples=FEW))] == [
        ("shape", "failed")
    ]
    report = check_block(wrong_blocks.AddsNothing, "residual_block", examples=FEW)
    assert [one[:2] for one in told(report)] == [
        ("residual", "failed"),
        ("shortcut", "blocked"),
        ("highway", "blocked"),
        ("gradients", "failed"),  # the projection is there at a stride, and never used
        ("statistics", "failed"),  # its norm is not used either
    ]


def test_the_smallest_case_is_told() -> None:
    """An odd side is needed, and a stride: nothing else is larger than it must be."""
    found = finding(check_block(wrong_blocks.PoolsDownOddSizes, "basic", properties=["shape"]), "shape")
    assert found.message.splitlines()[-1] == (
        "case: width=4, stride=2, in 4 6 7, batch 1 (the smallest found; the same cases every time)"
    )
    again = check_block(wrong_blocks.PoolsDownOddSizes, "basic", properties=["shape"], seed=7)
    assert "seed 7" in finding(again, "shape").message
    assert again.notes[-1].endswith("batch 1 to 3; seed 7")


def test_what_fails_now_and_then() -> None:
    """A block that computes something else in every seventh call: what fails and then holds in one case has failed."""

    class Sometimes(BasicBlock):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Sometimes.calls += 1
            return super().forward(x)[:, :, Sometimes.calls % 7 == 0 :]

    found = finding(check_block(Sometimes, "residual_block", properties=["shape"]), "shape")
    assert found.status == "failed"
    assert found.message.startswith("the output is ")
    assert found.message.endswith("(the smallest found; it does not fail each time)")
    assert finding(check_block(Sometimes, "residual_block", properties=["shape"], seed=7), "shape").status == "failed"


def test_what_cannot_run_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something keeps a property from running in one call of seven, it is skipped, and never passed."""
    calls = itertools.count(1)

    def asked(one: object, trial: object) -> str:
        if next(calls) % 7 == 3:
            raise CannotRun("the compiler is busy")
        return ""

    monkeypatch.setattr(check_of_blocks, "guarded_property", asked)
    found = finding(check_block(BasicBlock, "residual_block", properties=["shape"]), "shape")
    assert (found.status, found.message) == ("skipped", "could not run")
    assert found.reason.startswith("not each time: ")


def test_every_seed_draws_other_cases() -> None:
    """0 is a seed as any other: what is drawn without one has none of theirs."""

    def drawn(seed: int | None) -> list[str]:
        cases: list[str] = []
        checked = BlockCheck(BasicBlock, "residual_block", seed=seed).checked
        check_of_blocks._over_cases(checked, lambda case: cases.append(str(case)), seed, 12)
        return cases

    assert drawn(None) == drawn(None) != drawn(0) == drawn(0) != drawn(1)


def test_the_input_and_the_arguments_that_are_given() -> None:
    """--as with arguments and --in leave the batch to be drawn; --call says how, by position too."""
    report = check_block(
        BasicBlock, "basic(8, stride=2)", in_="6 9 11", call="C, width, stride=stride", properties=["shape", "cost"]
    )
    assert told(report) == []
    assert "(width=8, stride=2, in 6 9 11, batch 2; " in finding(report, "cost").message
    assert report.notes[-2] == "call: C, width, stride=stride"


def test_a_block_without_a_stride_or_another_width() -> None:
    """A call that does not mention the input's channels or the stride is held to the cases without them."""

    class Same(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.conv = wrong_blocks.conv(width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv(x)

    report = check_block(Same, "residual_block", properties=["shape", "shortcut", "residual", "highway"])
    assert told(report) == []
    assert report.notes[-2] == "call: width=out (inferred; --call ARGUMENTS)"


def test_kwargs_are_given_to_every_block() -> None:
    """What --kwargs gives is always given, and a width that a block needs is found."""

    class Grouped(BasicBlock):
        def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int):
            super().__init__(in_channels, out_channels, stride)
            self.norm_b = nn.GroupNorm(groups, out_channels)

    report = check_block(Grouped, "residual_block", kwargs={"groups": 32}, properties=["shape"])
    assert told(report) == []
    assert "widths: from 32 on, since with fewer it cannot be made" in report.notes


def test_arguments_that_are_passed_on() -> None:
    """A class that takes whatever comes is called as the one that it extends; a branch that starts at 0 is no fault."""

    class ZeroAtFirst(BasicBlock):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            nn.init.zeros_(self.norm_b.weight)

    wanted = ["residual", "highway", "gradients", "finite", "scale"]
    report = check_block(ZeroAtFirst, "residual_block", properties=wanted)
    assert told(report) == []
    assert report.notes[1].startswith("call: in_channels=C, out_channels=out, stride=stride")


def test_nothing_is_left_behind() -> None:
    """Torch's settings and generators, Python's, and the class are as they were."""
    torch.manual_seed(5)
    random.seed(5)
    before = torch.random.get_rng_state(), random.getstate(), dict(vars(BasicBlock))
    with torch.no_grad():
        check_block(BasicBlock, "basic", properties=["shape", "gradients", "export", "structure"])
        assert not torch.is_grad_enabled()
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1:] == (random.getstate(), dict(vars(BasicBlock)))
    assert torch.backends.cudnn.allow_tf32 is True


def test_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Properties are skipped, with what would bring them; the levels of a block with a body still run."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    report = check_block(BasicBlock, "basic", properties=["structure", "shape"])
    assert finding(report, "structure").status == "passed"
    assert finding(report, "shape").status == "skipped"
    assert "pip install 'rv-check[blocks]' brings it" in str(finding(report, "shape").reason)


# The command


def command(*arguments: str) -> int:
    """`rv-check block` with these arguments."""
    return answer(parse(["block", *arguments]))


def test_what_could_not_be_asked_does_not_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A property that was skipped never reads as passed: the answer says so, and the exit status is 1."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert command(f"{FILE}:BottleneckBlock", "--as", "bottleneck", "--property", "shape") == 1
    text = capsys.readouterr().out
    assert text.startswith(f"{FILE}:BottleneckBlock is not known to hold as bottleneck: 1 skipped\n")
    assert "pip install 'rv-check[blocks]' brings it" in text


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer first, what was inferred, a line a check; 0 where all held."""
    assert command(f"{FILE}:BottleneckBlock", "--property", "structure", "--property", "shape") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{FILE}:BottleneckBlock holds as bottleneck"
    assert lines[2:4] == [
        "  contract: bottleneck, which it is (inferred; --as NAME)",
        "  call: in_channels=C, out_channels=4*width, stride=stride (inferred; --call ARGUMENTS)",
    ]
    assert lines[6].split()[:6] == ["structure", "passed", "the", "same", "graph", "of"]


def test_command_of_a_wrong_block(capsys: pytest.CaptureFixture[str]) -> None:
    """What failed, in which case, and the command that asks for it again; 1."""
    where = f"{FILE}:AddsTheBranchTwice"
    assert command(where, "--as", "basic(8)", "--property", "residual") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{where} does not hold as basic(width=8): residual"
    assert "  residual: the branch is added more than once" in lines
    assert lines[-1] == f"  again: rv-check block {where} --as 'basic(8)' --property residual"


def test_command_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object, with a finding for each property."""
    assert command(f"{FILE}:AddsNothing", "--as", "residual_block", "--property", "residual", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == block.SCHEMA
    assert [(f["check"], f["status"]) for f in found["findings"]] == [("residual", "failed")]
    assert found["notes"][-2].startswith("call: ")


BAD: dict[str, tuple[list[str], str]] = {
    "no class": (["BasicBlock"], "'BasicBlock' is no class\n  expected: file.py:Name or package.module:Name"),
    "no file": (["nowhere.py:Block"], "nowhere.py cannot be imported: there is no such file"),
    "no name": ([f"{FILE}:BasicBlok"], f"{FILE} has no 'BasicBlok'\n  did you mean: BasicBlock"),
    "no module": (
        [f"{FILE}:Doubled"],
        f"{FILE}:Doubled is no class of modules: the class Doubled\n  expected: a torch.nn.Module, or a factory",
    ),
    "no contract": (
        [f"{FILE}:BasicBlock", "--as", "botleneck"],
        "unknown block 'botleneck'\n  expected: basic, ",
    ),
    "a stage is no contract": (
        [f"{FILE}:BasicBlock", "--as", "stage"],
        "block 'stage' takes a block, which no class can be held to",
    ),
    "no argument": (
        [f"{FILE}:BasicBlock", "--as", "basic(wdith=8)"],
        "basic has no argument 'wdith'\n  basic(wdith=8)\n        ^\n  expected: width, stride    did you mean: width",
    ),
    "no call": (
        [f"{FILE}:BasicBlock", "--call", "in_channels=C, out_channels="],
        "argument 'out_channels' has no value\n  BasicBlock(in_channels=C, out_channels=)\n",
    ),
    "no name in a call": (
        [f"{FILE}:BasicBlock", "--as", "basic", "--call", "C, wdith"],
        "unknown name 'wdith'\n  BasicBlock(C, wdith)\n",
    ),
    "not constructed": (
        [f"{FILE}:BasicBlock", "--as", "basic", "--call", "channels=C"],
        "BasicBlock(in_channels: 'int', out_channels: 'int', stride: 'int' = 1) cannot be constructed\n"
        "  tried: channels=C: ",
    ),
    "not called": (
        [f"{FILE}:BasicBlock", "--as", "basic", "--call", "in_channels=2*C, out_channels=width"],
        "BasicBlock(in_channels: 'int', out_channels: 'int', stride: 'int' = 1) cannot be called\n"
        "  tried: in_channels=2*C, out_channels=width: does not run: RuntimeError: Given groups=1",
    ),
    "arguments that nobody can guess": (
        [f"{FILE}:wrong"],
        "wrong(property_: 'str', words: 'str', contract: 'str' = 'basic') -> 'Any' cannot be constructed\n"
        "  tried: property_=C, words=4*width: ",
    ),
    "no input": ([f"{FILE}:BasicBlock", "--in", "64 56"], "input is '64 56'"),
    "no property": (
        [f"{FILE}:BasicBlock", "--property", "reziduum"],
        "unknown property 'reziduum'\n  expected: structure, numbers, shape, illegal, cost, residual, shortcut, ",
    ),
    "no JSON": ([f"{FILE}:BasicBlock", "--kwargs", "{"], "--kwargs is no JSON: "),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_error(arguments: list[str], words: str) -> None:
    """A wrong question is answered with what was tried, for status 2."""
    with pytest.raises(RvCheckError) as error:
        command(*arguments)
    assert words in str(error.value)


class Unnormalised(nn.Module):
    """Two convolutions as torch starts them, without norms, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.first = wrong_blocks.conv(in_channels, out_channels, 3, stride)
        self.second = wrong_blocks.conv(out_channels, out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else wrong_blocks.conv(in_channels, out_channels, 1, stride)

    def branch(self, x: Tensor) -> Tensor:
        """What is added."""
        return self.second(torch.relu(self.first(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)


class Plain(Unnormalised):
    """The same without its shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x)


def test_a_stack_of_residual_blocks_keeps_a_gradient_that_a_plain_one_loses() -> None:
    """Sixteen of them, as in ResNet-50, without norms: the shortcut alone keeps the norm within the bounds."""
    assert check_block(Unnormalised, "residual_block", properties=["scale"]).passed
    found = finding(check_block(Plain, "residual_block", properties=["scale"]), "scale")
    assert found.status == "failed"
    match = re.search(r"16 stacked: .* gradient norm in/out (\S+) at initialisation", found.message)
    assert match is not None
    assert float(match[1]) < STACKED[0]
