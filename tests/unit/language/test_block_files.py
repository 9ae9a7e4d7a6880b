"""Block files without a body: what a block does, and not what it is."""

from __future__ import annotations

import re
import textwrap
from decimal import Decimal
from pathlib import Path

import pytest

from rv_check.archs.load import load_archs
from rv_check.errors import RvCheckError
from rv_check.language import library
from rv_check.language.definitions import Block
from rv_check.language.files import shipped_folder
from rv_check.language.vocabulary import PROPERTIES

CONTRACT = """\
block: cheap(out, stride=1)
source: a test
in: C H W
out: out ceil(H/stride) ceil(W/stride)

budgets:
  params: at most bottleneck(width=out/4)
  macs: within 5% of bottleneck(width=out/4)
  receptive_field: exactly 3

properties:
  - shape
  - residual
"""


def write(folder: Path, *changes: tuple[str, str]) -> Path:
    """The contract with these changes, each of which must change something."""
    text = CONTRACT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "cheap.yaml"
    path.write_text(text)
    return path


def contract(folder: Path, *changes: tuple[str, str]) -> Block:
    """The contract with these changes, read."""
    found = library.load(write(folder, *changes))
    assert isinstance(found, Block)
    return found


# Good files


def test_a_contract(tmp_path: Path) -> None:
    """Budgets and properties are read, each in its place."""
    found = contract(tmp_path)
    assert found.is_contract
    assert not found.body
    assert found.properties == ("shape", "residual")
    params, macs, field = found.budgets
    assert (params.metric, params.relation, params.words) == ("params", "at most", "at most bottleneck(width=out/4)")
    assert (macs.relation, macs.percent) == ("within", Decimal(5))
    assert (field.relation, field.number, field.block) == ("exactly", 3, None)
    assert params.place.line == 7
    assert params.place.column == len("  params: at most ") + 1


def test_bounds(tmp_path: Path) -> None:
    """The least and the most: 5% of 101 is 5.05, so that 96 to 106 are within."""
    at_most, within, exactly = contract(tmp_path).budgets
    assert at_most.bounds(100) == (None, 100)
    assert within.bounds(101) == (96, 106)
    assert exactly.bounds(3) == (3, 3)
    (at_least,) = contract(
        tmp_path,
        ("  params: at most bottleneck(width=out/4)\n", ""),
        ("  macs: within 5% of bottleneck(width=out/4)\n", ""),
        ("exactly 3", "at least 1_000"),
    ).budgets
    assert at_least.bounds(1000) == (1000, None)


def test_properties_or_budgets_alone(tmp_path: Path) -> None:
    """One of the two is enough."""
    lines = CONTRACT.split("\n\n")
    assert not contract(tmp_path, (lines[1] + "\n\n", "")).budgets
    assert not contract(tmp_path, ("\n" + lines[2], "")).properties


def test_shipped_contracts() -> None:
    """Both say what every block of a stage does, in all properties but the slow one."""
    for name, stride in (("residual_block", "1"), ("downsampling_residual_block", "2")):
        found = library.find(name, shipped_folder())
        assert isinstance(found, Block)
        assert found.is_contract
        assert set(found.properties) == set(PROPERTIES) - {"compile"}
        default = found.arguments["stride"]
        assert default is not None
        assert default.text == stride


def test_arguments_are_passed_on_by_name(tmp_path: Path) -> None:
    """A budget's block gets what it is not given: a name that is used there is used."""
    found = contract(
        tmp_path,
        ("cheap(out, stride=1)", "cheap(width, stride=1, groups=1)"),
        ("out: out", "out: 4*width"),
        ("bottleneck(width=out/4)", "bottleneck"),
        ("bottleneck(width=out/4)", "bottleneck(width)"),
    )
    assert found.budgets[0].block is not None


# Bad files

BAD: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "a body, too": (
        (("\nbudgets:", "\nbody:\n  - relu\n\nbudgets:"),),
        """
        cheap.yaml:9:1: a block has no key 'budgets'
          budgets:
          ^
          expected: block, in, body, source, out, let, inline

        cheap.yaml:14:1: a block has no key 'properties'
          properties:
          ^
          expected: block, in, body, source, out, let, inline
        """,
    ),
    "no output": (
        (("out: out ceil(H/stride) ceil(W/stride)\n", ""),),
        """
        cheap.yaml:1:1: a contract without out:
          block: cheap(out, stride=1)
          ^
          expected: out:
        """,
    ),
    "inline": (
        (("\nbudgets:", "inline: true\n\nbudgets:"),),
        """
        cheap.yaml:5:1: a contract has no key 'inline'
          inline: true
          ^
          expected: block, in, out, source, let, budgets, properties
        """,
    ),
    "an unknown budget": (
        (("  macs:", "  flops:"),),
        """
        cheap.yaml:8:3: unknown budget 'flops'
            flops: within 5% of bottleneck(width=out/4)
            ^
          expected: params, macs, activations, receptive_field    did you mean: macs
        """,
    ),
    "no relation": (
        (("at most bottleneck(width=out/4)", "bottleneck"),),
        """
        cheap.yaml:7:11: the budget params is 'bottleneck'
            params: bottleneck
                    ^
          expected: at most, at least, exactly or within 5% of, and a number or a block
        """,
    ),
    "no whole number": (
        (("exactly 3", "exactly 3.5"),),
        """
        cheap.yaml:9:28: '3.5' is not a whole number
            receptive_field: exactly 3.5
                                     ^
          expected: an integer of at least 0
        """,
    ),
    "an unknown block": (
        (("at most bottleneck", "at most botleneck"),),
        """
        cheap.yaml:7:19: 'botleneck' is no block
            params: at most botleneck(width=out/4)
                            ^
          expected: a block with a body    did you mean: bottleneck
        """,
    ),
    "an op": (
        (("at most bottleneck(width=out/4)", "at most relu"),),
        """
        cheap.yaml:7:19: 'relu' is no block
            params: at most relu
                            ^
          expected: a block with a body
        """,
    ),
    "another contract": (
        (("at most bottleneck(width=out/4)", "at most residual_block"),),
        """
        cheap.yaml:7:19: 'residual_block' is a contract
            params: at most residual_block
                            ^
          expected: a block with a body
        """,
    ),
    "a missing argument": (
        (("at most bottleneck(width=out/4)", "at most bottleneck"),),
        """
        cheap.yaml:7:19: bottleneck without its argument 'width'
            params: at most bottleneck
                            ^
          expected: width, stride, groups, width_per_group
        """,
    ),
    "an unknown name": (
        (("at most bottleneck(width=out/4)", "at most bottleneck(width=oot)"),),
        """
        cheap.yaml:7:36: unknown name 'oot'
            params: at most bottleneck(width=oot)
                                             ^
          expected: out, stride, C, H, W    did you mean: out
        """,
    ),
    "an unknown property": (
        (("- residual", "- residuel"),),
        """
        cheap.yaml:13:5: unknown property 'residuel'
            - residuel
              ^
        """,
    ),
    "a property twice": (
        (("- residual", "- shape"),),
        """
        cheap.yaml:13:5: 'shape' stands here already
            - shape
              ^
          expected: each property once
        """,
    ),
    "no list": (
        (("properties:\n  - shape\n  - residual", "properties: shape"),),
        """
        cheap.yaml:11:13: properties is 'shape'
          properties: shape
                      ^
        """,
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD.keys())
def test_error(
    changes: tuple[tuple[str, str], ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with a contract is said in its place."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RvCheckError) as error:
        contract(tmp_path, *changes)
    if "expected:" in expected:
        assert str(error.value) == textwrap.dedent(expected).strip()
    assert str(error.value).startswith(textwrap.dedent(expected).strip())


def test_error_a_contract_as_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network cannot be made of what has no body, by name or as an argument."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    for body, build in (("cheap(8)", "net()"), ("block(8)", "net(cheap)")):
        arguments = "block" if build == "net(cheap)" else ""
        text = f"family: net({arguments})\ninput: 3 8 8\nbody:\n  - {body}\narchs:\n  net8:\n    build: {build}\n"
        (tmp_path / "net.yaml").write_text(text)
        with pytest.raises(RvCheckError, match=re.escape("block 'cheap' is a contract: it has no body")):
            load_archs(tmp_path / "net.yaml")


# What a budget is held to


def test_budgets_of_a_class(tmp_path: Path) -> None:
    """A bottleneck is within the budget of a bottleneck; two full 3x3 convolutions are not."""
    pytest.importorskip("hypothesis")
    from rv_check.blocks.check import check_block
    from tests.unit.wrong_blocks import BasicBlock, BottleneckBlock

    path = write(tmp_path, ("  - residual", "  - residual\n  - cost"))
    assert check_block(BottleneckBlock, str(path)).passed
    report = check_block(BasicBlock, f"{path}::cheap(16)", in_="16 8 8")
    (found,) = [finding for finding in report.findings if finding.status == "failed"]
    # 2 * 16*16*9 + 4*16 = 4,672; 16*4 + 4*4*9 + 4*16 + 2*4 + 2*4 + 2*16 = 320
    assert found.check == "cost"
    assert found.message.startswith("params: 4,672, at most bottleneck(width=out/4)\ncase: out=16, stride=1, in 16 8 8")
    assert (found.found, found.expected) == ("4,672", "at most bottleneck(width=out/4): 320")


@pytest.mark.parametrize(("limit", "status"), [("exactly 3", "passed"), ("at most 2", "failed")])
def test_budget_of_a_receptive_field(limit: str, status: str, tmp_path: Path) -> None:
    """One 3x3 between two 1x1 sees 3 pixels."""
    pytest.importorskip("hypothesis")
    from rv_check.blocks.check import check_block
    from tests.unit.wrong_blocks import BottleneckBlock

    path = write(tmp_path, ("exactly 3", limit), ("- shape\n  - residual", "- cost"))
    (found,) = check_block(BottleneckBlock, str(path)).findings
    assert (found.check, found.status) == ("cost", status)


@pytest.mark.parametrize(("limit", "status"), [("exactly 2048", "passed"), ("at most 2047", "failed")])
def test_budget_of_activations(limit: str, status: str, tmp_path: Path) -> None:
    """Two convolutions of 16 to 16 channels at 8x8 give 2*16*64 elements."""
    pytest.importorskip("hypothesis")
    from rv_check.blocks.check import check_block
    from tests.unit.wrong_blocks import BasicBlock

    path = write(tmp_path, ("receptive_field: exactly 3", f"activations: {limit}"), ("- shape\n  - residual", "- cost"))
    text = path.read_text().replace("params: at most bottleneck(width=out/4)", "params: at least 1")
    path.write_text(text.replace("macs: within 5% of bottleneck(width=out/4)", "macs: at least 1"))
    report = check_block(BasicBlock, f"{path}::cheap(16, stride=1)", in_="16 8 8")
    (found,) = report.findings
    assert (found.check, found.status) == ("cost", status)
    assert status == "passed" or found.message.startswith("activations: 2,048, at most 2")
