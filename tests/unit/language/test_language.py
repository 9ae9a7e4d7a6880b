"""The spec language: what a spec means, worked by hand, and the page that explains it."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from rv_check.archs import expand
from rv_check.archs.arch import Arch
from rv_check.archs.listing import rows
from rv_check.archs.load import archs_of, load, load_archs
from rv_check.archs.tree import Join, Module, Repeat, Seq, child
from rv_check.checks.registry import check_arch
from rv_check.errors import SpecError
from rv_check.language import expressions, library, vocabulary, yaml_nodes
from rv_check.language import files as spec_files
from rv_check.ops.op import OPS
from tests import ROOT

PAGE = ROOT / "specs" / "README.md"


def write(folder: Path, files: dict[str, str]) -> None:
    """Write these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


# The page


def examples(page: str) -> dict[str, str]:
    """The examples of the page by file name. Every fenced block is one, or this fails."""
    fences = re.findall(r"^```", page, re.MULTILINE)
    found = re.findall(r"^```yaml\n(# ([\w/]+\.yaml)\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(fences) == 2 * len(found), "a fenced block that is no yaml with its file name in the first line"
    files = {name: text for text, name in found}
    assert len(files) == len(found), "two examples with one name"
    return files


@pytest.fixture
def page_archs(tmp_path: Path) -> dict[str, Arch]:
    """The archs of all examples of the page, which stand in one folder."""
    files = examples(PAGE.read_text(encoding="utf-8"))
    write(tmp_path, files)
    families = [name for name in files if "/" not in name]
    assert families
    found = [arch for name in families for arch in load_archs(tmp_path / name)]
    for block in (Path(name).stem for name in files if "/" in name):
        assert any(re.search(rf"\b{block}\b", files[name]) for name in families), "a block that no example uses"
    return {arch.name: arch for arch in found}


def test_every_example_holds(page_archs: dict[str, Arch]) -> None:
    """Each arch of the page expands, and its contract and its published numbers hold."""
    for arch in page_archs.values():
        report = check_arch(arch, ["spec"])
        assert report.passed, str(report)


def test_what_the_page_says_of_its_examples(page_archs: dict[str, Arch]) -> None:
    """The counts and names that the page states are those of its examples, and it states them of every arch."""
    page = PAGE.read_text(encoding="utf-8")
    said = re.findall(
        r"^- `(\w+)`: ([\d,]+) parameters, ([\d,]+) MACs, receptive field ([\d/]+(?: [\d/]+)?)", page, re.M
    )
    found = [(a.name, f"{a.params:,}", f"{a.macs:,}", str(a.receptive_field)) for a in page_archs.values()]
    assert sorted(said) == sorted(found)
    layers = re.findall(r"^- layers of `(\w+)`: (.*)$", page, re.MULTILINE)
    assert len(layers) == 2
    for name, names in layers:
        assert re.findall("`([^`]+)`", names) == layer_names(page_archs[name])


@pytest.mark.parametrize(
    "page",
    [
        "```yaml\nfamily: net\n```\n",
        "```yaml\n# net.txt\nfamily: net\n```\n",
        "```yml\n# net.yaml\nfamily: net\n```\n",
        "```\n# net.yaml\nfamily: net\n```\n",
        "```yaml\n# net.yaml\n```\n```yaml\n# net.yaml\n```\n",
        "```yaml\n# net.yaml\n```\n```text\nfamily: net\n```\n",
    ],
)
def test_an_example_that_is_not_run_is_noticed(page: str) -> None:
    """A fenced block that would be skipped fails the page."""
    with pytest.raises(AssertionError):
        examples(page)
    assert list(examples("```yaml\n# a.yaml\n```\n\n```yaml\n# blocks/b.yaml\n```\n")) == ["a.yaml", "blocks/b.yaml"]


def ops_table() -> str:
    """The table of ops, from their classes: arguments with defaults, and what each does."""
    lines = ["| op | arguments | |", "| --- | --- | --- |"]
    for name, cls in OPS.items():
        arguments = ", ".join(map(argument, dataclasses.fields(cls)))
        what = " ".join((cls.__doc__ or "").split()).partition(" Source: ")[0].rstrip(".").replace("*", r"\*")
        lines.append(f"| `{name}` | {f'`{arguments}`' if arguments else ''} | {what} |")
    return "\n".join(lines) + "\n"


def argument(field: dataclasses.Field[Any]) -> str:
    """`stride=1`; a name alone where there is no default that could be written."""
    default = field.default
    if default is dataclasses.MISSING or default is None:
        return field.name
    if isinstance(default, tuple):
        default = default[0] if len(set(default)) == 1 else list(default)
    return f"{field.name}={default}"


def test_ops_table_is_generated(hold_snapshot) -> None:
    """The page's table of ops is what the classes say."""
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition("<!-- ops -->\n")
    _, end, after = rest.partition("<!-- end of ops -->\n")
    assert begin
    assert end
    hold_snapshot(PAGE, before + begin + ops_table() + end + after)


def test_the_page_has_every_word_and_bound() -> None:
    """No word of the language is missing from the page, and its bounds are those of the code."""
    page = PAGE.read_text(encoding="utf-8")
    words = {
        *vocabulary.STEP_WORDS,
        *vocabulary.METRICS,
        *vocabulary.VERDICTS,
        *vocabulary.CONTRACT_KEYS,
        *vocabulary.INIT_METHODS,
        *expressions.WORDS,
    }
    words |= {"family", "block", "source", "input", "let", "init", "archs", "build", "reference", "inline", "within"}
    words |= {
        "bench",
        "batch",
        "tolerance",
        *vocabulary.BENCH_AXES,
        *(word for some in vocabulary.BENCH_AXES.values() for word in some),
    }
    missing = sorted(word for word in words if not re.search(rf"\b{word}\b", page))
    assert not missing
    assert all(f"{provider}." in page for provider in vocabulary.PROVIDERS)
    for bound in (
        f"{yaml_nodes.MAX_BYTES // 1024} KiB",
        f"{expressions.MAX_TEXT:,}\ncharacters",
        f"{expand.MAX_SIZE:,} layers",
    ):
        assert bound in page
    assert expressions.MAX_NUMBER == 10**12
    assert "12 digits" in page


# Small networks


def net(folder: Path, body: str, head: str = "net", build: str = "net", size: str = "4 8 8", **blocks: str) -> Arch:
    """A network with this body, and these blocks beside it. A block is its signature, then its lines."""
    family = f"family: {head}\ninput: {size}\nbody:\n{indented(body, 2)}archs:\n  net:\n    build: {build}\n"
    write(folder, {"net.yaml": family, **{f"blocks/{name}.yaml": f"block: {text}" for name, text in blocks.items()}})
    (arch,) = load_archs(folder / "net.yaml")
    return arch


def indented(text: str, by: int) -> str:
    """`text` without its own indentation, and with this one."""
    return textwrap.indent(textwrap.dedent(text).strip("\n") + "\n", " " * by)


def layer_names(arch: Arch) -> list[str]:
    """The names of the layers, in the order of the flow."""
    return [row.name for row in rows(arch.tree.root) if not isinstance(row.node, Join)]


PAIR = "pair(width)\nin: C H W\nbody:\n  - conv(width, kernel=1, bias=False)\n  - relu\n"
INLINE = "pair(width)\ninline: true\nin: C H W\nbody:\n  - conv(width, kernel=1, bias=False)\n  - relu\n"

NAMES: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "positions": ("- relu\n- flatten", {}, ["0", "1"]),
    "named ones are counted": ("- relu\n- act: relu\n- relu", {}, ["0", "act", "2"]),
    "shape takes no position": ("- relu\n- shape: 4 8 8\n- relu", {}, ["0", "1"]),
    "a group begins at 0": ("- relu\n- g:\n    - relu\n    - relu\n- relu", {}, ["0", "g.0", "g.1", "2"]),
    "groups within groups": ("- g:\n    - relu\n    - h:\n        - relu\n    - relu", {}, ["g.0", "g.h.0", "g.2"]),
    "a block begins at 0": ("- relu\n- pair(8)\n- relu", {"pair": PAIR}, ["0", "1.0", "1.1", "2"]),
    "a block with a name": ("- relu\n- p: pair(8)\n- relu", {"pair": PAIR}, ["0", "p.0", "p.1", "2"]),
    "an inline block goes on counting": ("- relu\n- pair(8)\n- relu", {"pair": INLINE}, ["0", "1", "2", "3"]),
    "an inline block in a group": (
        "- g:\n    - relu\n    - pair(8)\n- relu",
        {"pair": INLINE},
        ["g.0", "g.1", "g.2", "1"],
    ),
    "a repeat goes on counting": ("- relu\n- repeat: 3\n  steps:\n    - relu\n- relu", {}, ["0", "1", "2", "3", "4"]),
    "a repeat of two steps": (
        "- repeat: 2\n  steps:\n    - relu\n    - act{i}: relu\n  index: i",
        {},
        ["0", "act0", "2", "act1"],
    ),
    "an index that is used": (
        "- repeat: 2\n  index: i\n  steps:\n    - d{i+1}: dropout((i + 1) / 4)\n    - relu",
        {},
        ["d1", "1", "d2", "3"],
    ),
    "repeats within repeats": (
        "- repeat: 2\n  index: i\n  steps:\n    - repeat: 2\n      index: j\n      steps:\n        - a{i}_{j}: relu",
        {},
        ["a0_0", "a0_1", "a1_0", "a1_1"],
    ),
    "an outer index in a number of rounds": (
        "- repeat: 3\n  index: i\n  steps:\n    - repeat: i\n      steps:\n        - relu",
        {},
        ["0", "1", "2"],  # 0 + 1 + 2 rounds
    ),
    "an index in a group": (
        "- repeat: 2\n  index: i\n  steps:\n    - g{i}:\n        - a{i}: relu\n        - relu",
        {},
        ["g0.a0", "g0.1", "g1.a1", "g1.1"],
    ),
    "an index in a group without a number": (
        "- repeat: 2\n  index: i\n  steps:\n    - g{i}:\n        - h:\n            - a{i}: relu",
        {},
        ["g0.h.a0", "g1.h.a1"],
    ),
    "no rounds": ("- relu\n- repeat: 0\n  steps:\n    - relu\n- relu", {}, ["0", "1"]),
    "branches count on": (
        "- sum:\n    a:\n      - relu\n    b:\n      - relu\n      - x: relu\n- relu",
        {},
        ["0", "1", "x", "3"],
    ),
    "labels are no names": ("- a: relu\n- sum:\n    a:\n      - relu\n    b: identity", {}, ["a", "1"]),
    "identity takes no position": ("- sum:\n    a: identity\n    b:\n      - relu\n- relu", {}, ["0", "1"]),
    "none takes no position": ("- sum:\n    a: none\n    b:\n      - relu\n- relu", {}, ["0", "1"]),
    "then": ("- if: 1 < 2\n  then:\n    - relu\n    - relu\n- relu", {}, ["0", "1", "2"]),
    "else": ("- if: 1 > 2\n  then:\n    - relu\n  else:\n    - x: relu\n- relu", {}, ["x", "1"]),
    "no else": ("- if: 1 > 2\n  then:\n    - relu\n- relu", {}, ["0"]),
    "else is identity": ("- if: 1 > 2\n  then:\n    - relu\n  else: identity\n- relu", {}, ["0"]),
    "an if in an arm": (
        "- if: 1 > 2\n  then: identity\n  else:\n    if: 1 > 2\n    then: identity\n    else:\n      - x: relu\n- relu",
        {},
        ["x", "1"],
    ),
    "joins within joins": (
        "- sum:\n    a:\n      - product:\n          x:\n            - relu\n          y:\n            - relu\n"
        "    b:\n      - relu",
        {},
        ["0", "1", "2"],
    ),
    "a hyphen": ("- block{1 + 1}-0: relu\n- a-b: relu", {}, ["block2-0", "a-b"]),
    "a name in two modules": ("- g:\n    - a: relu\n- h:\n    - a: relu\n- a: relu", {}, ["g.a", "h.a", "a"]),
}


@pytest.mark.parametrize(("body", "blocks", "expected"), NAMES.values(), ids=NAMES.keys())
def test_names(body: str, blocks: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    """A layer's name is its own, or its position among the layers, blocks and groups of the nearest module."""
    arch = net(tmp_path, body, **blocks)
    assert expected == layer_names(arch)
    for name in expected:  # what a contract finds by name, without writing out the rounds
        node: Any = arch.tree.root
        for part in name.split("."):
            item = child(node.seq, part)
            assert item is not None, name
            node = item.node


def test_a_name_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """Neither a position behind the last, nor that of a step that has a name of its own."""
    arch = net(tmp_path, "- relu\n- a: relu\n- repeat: 1000\n  steps:\n    - relu\n    - relu")
    assert [child(arch.tree.root.seq, name) is not None for name in ("0", "1", "a", "2", "2001", "2002", "x")] == [
        *(True, False, True, True, True, False, False)
    ]


SHAPES: dict[str, tuple[str, dict[str, str], tuple[int, ...]]] = {
    "kernel for both axes": ("- conv(8, kernel=3, bias=False)", {}, (8, 6, 6)),
    "kernel by axis": ("- conv(8, kernel=[1, 3], bias=False)", {}, (8, 8, 6)),
    "stride, padding and dilation by axis": (
        "- conv(8, kernel=3, stride=[1, 2], padding=[2, 1], dilation=[2, 1], bias=False)",
        {},
        (8, 8, 4),  # rows: 8 + 4 - 5 + 1; columns: (8 + 2 - 3) // 2 + 1
    ),
    "pool by axis": ("- maxpool([2, 4])", {}, (4, 4, 2)),
    "pool to a size by axis": ("- adaptive_avgpool([2, 3])", {}, (4, 2, 3)),
    "a sum of equal shapes": ("- sum:\n    a: identity\n    b:\n      - relu", {}, (4, 8, 8)),
    "a concat adds channels": (
        "- concat:\n    a: identity\n    b:\n      - conv(8, kernel=1, bias=False)\n    c: identity",
        {},
        (16, 8, 8),
    ),
    "a concat of flat branches": ("- flatten\n- concat:\n    a: identity\n    b: identity", {}, (512,)),
    "a product keeps the larger axes": (
        "- product:\n    gate:\n      - adaptive_avgpool(1)\n    x: identity",
        {},
        (4, 8, 8),
    ),
    "a product of two that are both small": (
        "- product:\n    a:\n      - adaptive_avgpool([1, 8])\n    b:\n      - adaptive_avgpool([8, 1])",
        {},
        (4, 8, 8),
    ),
    "a product with one channel": (
        "- product:\n    x: identity\n    a:\n      - conv(1, kernel=1, bias=False)",
        {},
        (4, 8, 8),
    ),
    "a join of one branch that is there": (
        "- concat:\n    a: none\n    b:\n      - conv(8, kernel=3, bias=False)",
        {},
        (8, 6, 6),
    ),
    "an arm that is none": (
        "- concat:\n    a: identity\n    b:\n      if: 1 > 2\n      then:\n        - relu\n      else: none",
        {},
        (4, 8, 8),
    ),
    "rounds that change the shape": ("- repeat: 3\n  steps:\n    - conv(8, kernel=3, bias=False)", {}, (8, 2, 2)),
    "exact division": ("- conv(12 / 4, kernel=9 / 3, bias=False)", {}, (3, 6, 6)),
    "half of a half": ("- conv(1 / 2 * 16, kernel=1, bias=False)", {}, (8, 8, 8)),
    "letters are the block's own input": (
        "- conv(6, kernel=[1, 3], bias=False)\n- b",
        {"b": "b\nin: C H W\nout: 2*C H-2 W\nbody:\n  - conv(2*C, kernel=[H-5, W-5], bias=False, padding=[0, 0])\n"},
        (12, 6, 6),  # the kernel is 8-5 = 3 by 6-5 = 1: 6 rows are left of 8, 6 columns of 6
    ),
    "letters of a block within a block": (
        "- outer",
        {
            "outer": "outer\nin: C H W\nbody:\n  - conv(2*C, kernel=1, bias=False)\n  - inner\n"
            "  - conv(C, kernel=1, bias=False)\n",
            "inner": "inner\nin: C H W\nout: C+1 H W\nbody:\n  - conv(C+1, kernel=1, bias=False)\n",
        },
        (4, 8, 8),
    ),
    "a letter twice is a square": ("- b", {"b": "b\nin: C H H\nbody:\n  - conv(H, kernel=1, bias=False)\n"}, (8, 8, 8)),
    "a number and any in in:": ("- b", {"b": "b\nin: 4 _ W\nbody:\n  - conv(W, kernel=1, bias=False)\n"}, (8, 8, 8)),
    "an argument in in:": ("- b(4)", {"b": "b(n)\nin: n H W\nout: n 1 1\nbody:\n  - adaptive_avgpool(1)\n"}, (4, 1, 1)),
    "a flat input": ("- flatten\n- b", {"b": "b\nin: N\nout: N//2\nbody:\n  - linear(N // 2, bias=True)\n"}, (128,)),
}


@pytest.mark.parametrize(("body", "blocks", "expected"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes(body: str, blocks: dict[str, str], expected: tuple[int, ...], tmp_path: Path) -> None:
    """The shape that comes out of 4 x 8 x 8, worked by hand."""
    assert expected == net(tmp_path, body, **blocks).tree.root.y


APPLY = "apply(block, width=8)\nin: C H W\nbody:\n  - block(width)\n"
WIDEN = "widen(width, by=2, bias=False)\nin: C H W\nbody:\n  - conv(width * by, kernel=1, bias=bias)\n"
PARTIALS: dict[str, tuple[str, dict[str, str], int]] = {
    "a block": ("- apply(widen)", {}, 4 * 16),
    "a block with arguments": ("- apply(widen(by=3))", {}, 4 * 24),
    "with two": ("- apply(widen(by=3, bias=True))", {}, 4 * 24 + 24),
    "an op": ("- apply(conv(kernel=3, bias=True))", {}, 4 * 8 * 9 + 8),
    "an op as it is": (
        "- twice(relu)",
        {"twice": "twice(act)\nin: C H W\nbody:\n  - act\n  - conv(8, kernel=1, bias=False)\n  - act\n"},
        32,
    ),
    "filled further where it is passed on": (
        "- more(widen(bias=True))",
        {"more": "more(block)\nin: C H W\nbody:\n  - apply(block(by=3), 8)\n"},
        4 * 24 + 24,
    ),
    "a let": (
        "- with_let(widen)",
        {"with_let": "with_let(block)\nin: C H W\nlet:\n  wide: block(by=C)\nbody:\n  - wide(8)\n"},
        4 * 32,
    ),
    "a default": (
        "- by_default(8)",
        {"by_default": "by_default(n, block=widen(by=3))\nin: C H W\nbody:\n  - block(n)\n"},
        4 * 24,
    ),
    "compared": (
        "- which(widen)\n- which(widen(by=3))",
        {
            "which": "which(block)\nin: C H W\nbody:\n  - if: block == widen\n    then:\n      - block(2)\n"
            "    else:\n      - block(1)\n"
        },
        4 * 4 + 4 * 3,
    ),
    "in a list": (
        "- pick([widen, widen(by=3)])",
        {"pick": "pick(blocks)\nin: C H W\nlet:\n  last: blocks[1]\nbody:\n  - last(8)\n"},
        4 * 24,
    ),
}


@pytest.mark.parametrize(("body", "blocks", "expected"), PARTIALS.values(), ids=PARTIALS.keys())
def test_partials(body: str, blocks: dict[str, str], expected: int, tmp_path: Path) -> None:
    """A block or an op can be passed on, with some arguments filled by name. The parameters tell what was built."""
    assert expected == net(tmp_path, body, **{"apply": APPLY, "widen": WIDEN, **blocks}).params


def test_let_is_read_from_top_to_bottom(tmp_path: Path) -> None:
    """A let sees the arguments, the letters and the lets above it."""
    block = "b(n=3)\nin: C H W\nlet:\n  twice: 2 * n\n  sum: 1\nbody:\n  - relu\n".replace(
        "  sum: 1\n", "  all: twice + C\n"
    )
    arch = net(tmp_path, "- b\n- b(5)", b=block.replace("  - relu", "  - conv(all, kernel=1, bias=False)"))
    # 2*3 + 4 channels, then 2*5 + 10
    assert [row.y[0] for row in rows(arch.tree.root)] == [10, 20]


def test_arguments_by_position_and_by_name(tmp_path: Path) -> None:
    """Positions fill the arguments in the order of the signature, names in any order, defaults the rest."""
    block = "b(a, b=2, c=3)\nin: C H W\nbody:\n  - conv(100*a + 10*b + c, kernel=1, bias=False)\n"
    arch = net(tmp_path, "- b(1)\n- b(1, 1)\n- b(1, c=1)\n- b(c=1, a=2)\n- b(b=1, c=2, a=3)", b=block)
    assert [row.y[0] for row in rows(arch.tree.root)] == [123, 113, 121, 221, 312]


def test_an_index_is_a_number(tmp_path: Path) -> None:
    """In an expression the index tells the round, from 0, in rounds within rounds too."""
    body = """
    - repeat: 2
      index: i
      steps:
        - repeat: 3
          index: j
          steps:
            - conv(1 + 3*i + j, kernel=1, bias=False)
    """
    assert [row.y[0] for row in rows(net(tmp_path, body).tree.root)] == [1, 2, 3, 4, 5, 6]


def test_a_spec_is_small_text(tmp_path: Path) -> None:
    """Quotes, comments, folded lines and long numbers are only ways to write the same."""
    body = """
    - "conv1": 'conv(8, kernel=3, bias=False)'  # a comment
    - conv(
        1_0,
        kernel=[1,
          3], bias=True)
    """
    arch = net(tmp_path, body)
    assert layer_names(arch) == ["conv1", "1"]
    assert arch.params == 4 * 8 * 9 + (8 * 10 * 3 + 10)


def test_shape_lines_hold_at_the_declared_input_only(tmp_path: Path) -> None:
    """At another input size a `shape:` line is not checked, and the tree counts those; in: and out: hold everywhere."""
    body = "- conv(8, kernel=3, bias=False)\n- shape: 8 6 6\n- g:\n    - shape: _ _ width"
    path = net(tmp_path, body, head="net(width=6)").family.path
    assert load(f"{path}::net").tree.unchecked == 0
    other = load(f"{path}::net", "4 16 8")
    assert (other.tree.unchecked, other.tree.root.y) == (2, (8, 14, 6))
    with pytest.raises(SpecError, match="the shape here is 8 6 6"):
        _ = load(f"{path}::net(width=7)").tree
    b = "b\nin: C H W\nout: C 6 W-2\nbody:\n  - conv(C, kernel=3, bias=False)\n"
    path = net(tmp_path, "- b", b=b).family.path
    with pytest.raises(SpecError, match="the output of b is 4 14 6"):
        _ = load(f"{path}::net", "4 16 8").tree


def test_arguments_are_overridden_where_an_arch_is_named(tmp_path: Path) -> None:
    """`net(width=16)` changes what `build:` and the defaults say, and only that."""
    body = "- block(width)\n- flatten\n- linear(classes, bias=False)"
    path = net(
        tmp_path,
        body,
        "net(block, width, classes=10)",
        "net(pair, width=8)",
        pair=PAIR,
        pair2=PAIR.replace("pair", "pair2"),
    ).family.path
    declared = load(f"{path}::net")
    assert (declared.name, declared.params) == ("net", 4 * 8 + 8 * 64 * 10)
    wide = load(f"{path}::net(width=2*8)")
    assert (wide.name, wide.params) == ("net(width=16)", 4 * 16 + 16 * 64 * 10)
    few = load(f"{path}::net(classes=2, block=conv(kernel=3, bias=True))", "4 3 3")
    assert few.name == "net(classes=2, block=conv(kernel=3, bias=True))"
    assert few.params == 4 * 8 * 9 + 8 + 8 * 2
    assert load(f"{path}::net(block=pair2)").params == declared.params


def test_an_arch_has_its_own_input(tmp_path: Path) -> None:
    """An arch may declare another input than its family; that is where its shape lines hold."""
    family = "family: net\ninput: 3 8 8\nbody:\n  - conv(1, kernel=3, bias=False)\n  - shape: 1 14 6\narchs:\n"
    write(tmp_path, {"net.yaml": family + "  net:\n    build: net\n    input: 3 16 8\n"})
    (arch,) = load_archs(tmp_path / "net.yaml")
    assert (arch.input, arch.tree.unchecked, arch.tree.root.y) == ((3, 16, 8), 0, (1, 14, 6))


# Where blocks are found

RELU = "block: {name}\nin: C H W\nbody:\n  - relu\n"
CONV = "block: {name}\nin: C H W\nbody:\n  - conv(5, kernel=1, bias=False)\n"
FAMILY = "family: net\ninput: 3 8 8\nbody:\n  - {name}\narchs:\n  net:\n    build: net\n"
PLACES: dict[str, tuple[str, list[str], int]] = {
    "beside the file": ("cell", ["a/cell.yaml"], 5),
    "in blocks": ("cell", ["a/blocks/cell.yaml"], 5),
    "with the other ending": ("cell", ["a/blocks/cell.yml"], 5),
    "among the shipped ones": ("shipped", [], 7),
    "in the folder of a lineage among them": ("cell", ["shipped/blocks/cells/cell.yaml"], 5),
    "in the folder of a lineage, of a block there": ("shipped2", ["shipped/blocks/cells/cell.yaml"], 5),
    "in the folder of a lineage beside the file": ("shipped", ["a/blocks/cells/shipped.yaml"], 5),
    "from the folder of a lineage to what is beside it": ("outer", ["a/blocks/cell.yaml"], 5),
    "from one lineage to another": ("outer", ["a/blocks/cells/cell.yaml"], 5),
    "its own before the shipped ones": ("shipped", ["a/blocks/shipped.yaml"], 5),
    "beside the file before the shipped ones": ("shipped", ["a/shipped.yaml"], 5),
    "not above": ("shipped", ["shipped.yaml", "blocks/shipped.yaml", "a/blocks/blocks/shipped.yaml"], 7),
}


@pytest.mark.parametrize(("name", "files", "expected"), PLACES.values(), ids=PLACES.keys())
def test_where_a_block_is_found(
    name: str, files: list[str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the file that names it, in its `blocks/`, then among the shipped ones. Channels tell which it was."""
    shipped = CONV.format(name="shipped").replace("5", "7")
    write(tmp_path, {"shipped/blocks/shipped.yaml": shipped, "a/net.yaml": FAMILY.format(name=name)})
    write(tmp_path, {"shipped/blocks/more/shipped2.yaml": "block: shipped2\nin: C H W\nbody:\n  - cell\n"})
    write(tmp_path, {"a/blocks/more/outer.yaml": "block: outer\nin: C H W\nbody:\n  - cell\n"})
    write(tmp_path, {file: CONV.format(name=Path(file).stem) for file in files})
    monkeypatch.setattr(spec_files, "shipped_folder", lambda: tmp_path / "shipped")
    (arch,) = load_archs(tmp_path / "a/net.yaml")
    assert expected == arch.tree.root.y[0]


def test_a_block_looks_from_its_own_folder(tmp_path: Path) -> None:
    """The blocks of a block are found from where it stands; what is passed to it comes from where it is named."""
    outer = "block: outer(given)\nin: C H W\nbody:\n  - given\n  - inner\n"
    write(
        tmp_path,
        {
            "net.yaml": FAMILY.format(name="outer(inner)"),
            "inner.yaml": CONV.format(name="inner"),
            "blocks/outer.yaml": outer,
            "blocks/blocks/inner.yaml": RELU.format(name="inner"),
        },
    )
    (arch,) = load_archs(tmp_path / "net.yaml")
    assert [row.op for row in rows(arch.tree.root)] == ["conv(out=5, kernel=1, bias=False)", "relu"]


def test_a_family_does_not_hide_a_block_of_its_name(tmp_path: Path) -> None:
    """`cell.yaml` may hold a family, and use a block `cell` of its `blocks/`."""
    family = FAMILY.format(name="cell").replace("net", "cell")
    write(tmp_path, {"cell.yaml": family, "blocks/cell.yaml": CONV.format(name="cell")})
    assert [arch.tree.root.y for arch in load_archs(tmp_path / "cell.yaml")] == [(5, 8, 8)]


def test_a_changed_block_is_read_again(tmp_path: Path) -> None:
    """What was read is kept, until the file changes."""
    write(tmp_path, {"net.yaml": FAMILY.format(name="cell"), "blocks/cell.yaml": CONV.format(name="cell")})
    assert [arch.tree.root.y for arch in load_archs(tmp_path / "net.yaml")] == [(5, 8, 8)]
    write(tmp_path, {"blocks/cell.yaml": CONV.format(name="cell").replace("5", "17")})
    assert [arch.tree.root.y for arch in load_archs(tmp_path / "net.yaml")] == [(17, 8, 8)]
    write(tmp_path, {"blocks/cell.yaml": CONV.format(name="cell").replace("5", "no")})
    with pytest.raises(SpecError, match="unknown name 'no'"):
        load_archs(tmp_path / "net.yaml")


# The tree


def nodes(root: Module) -> list[Any]:
    """Every node of a tree, each once however often it stands there."""
    found: dict[int, Any] = {}

    def visit(node: Any) -> None:
        if id(node) in found:
            return
        found[id(node)] = node
        match node:
            case Module() | Repeat():
                visit(node.seq)
            case Seq():
                for item in node.items:
                    visit(item.node)
            case Join():
                for _, branch in node.branches:
                    visit(branch)

    visit(root)
    return list(found.values())


def test_a_stage_of_10_000_blocks_has_a_tiny_tree(tmp_path: Path) -> None:
    """Equal blocks on equal inputs are one node: depth costs nothing, and counts are those of all rounds."""
    body = "- stage(basic, 8, {}, stride=2)\n- stage(basic, 8, {}, stride=1)"
    small, large = (net(tmp_path / str(n), body.format(n, n)) for n in (3, 10_000))
    assert len(nodes(small.tree.root)) == len(nodes(large.tree.root)) < 60
    # first: 4 -> 8 by stride 2 with its projection; the others: two 3x3 convolutions 8 -> 8 with their norms
    first, other = 4 * 8 * 9 + 8 * 8 * 9 + 4 * 8 + 3 * 16, 2 * (8 * 8 * 9 + 16)
    assert large.params == first + 19_999 * other
    assert large.depth == 2 * 20_000
    # conv norm relu conv norm relu in each, and the two of the projection
    assert large.tree.root.layers == 20_000 * 6 + 2
    assert child(large.tree.root.seq, "1") is not None


def test_equal_calls_are_expanded_once(tmp_path: Path) -> None:
    """A block called twice with equal arguments on an equal input is one object, however the arguments are written."""
    arch = net(tmp_path, "- pair(4)\n- pair(width=2*2)\n- pair(8)\n- pair(4)", pair=PAIR)
    a, b, c, d = (item.node.seq for item in arch.tree.root.seq.items)  # type: ignore[union-attr]
    assert a is b
    assert a is not c
    assert a is not d  # its input has 8 channels
    assert (c.x, d.x) == ((4, 8, 8), (8, 8, 8))


def test_true_is_not_one(tmp_path: Path) -> None:
    """Equal for Python is not equal for a block: True and 1 are different arguments."""
    block = "b(n)\nin: C H W\nbody:\n  - if: n == 1\n    then:\n      - flatten\n    else:\n      - relu\n"
    arch = net(tmp_path, "- b(True)\n- b(1)", b=block)
    assert [row.op for row in rows(arch.tree.root)] == ["relu", "flatten"]


def test_archs_of_a_family(tmp_path: Path) -> None:
    """A family gives its archs in the order of the file, without expanding them."""
    text = "family: net(n)\ninput: 3 8 8\nbody:\n  - conv(n, kernel=n, bias=False)\narchs:\n"
    write(tmp_path, {"net.yaml": text + "".join(f"  net{n}:\n    build: net({n})\n" for n in (9, 1, 2))})
    family = library.load(tmp_path / "net.yaml")
    found = archs_of(family)  # type: ignore[arg-type]
    assert [arch.name for arch in found] == ["net9", "net1", "net2"]
    assert [arch.params for arch in found[1:]] == [3, 3 * 2 * 2 * 2]
    with pytest.raises(SpecError, match="the kernel spans 9"):
        _ = found[0].tree
