"""Parameters, MACs, depth, receptive fields and listings: worked by hand, recomputed elsewhere, and measured."""

from __future__ import annotations

import random
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from rv_check.archs import listing as listings
from rv_check.archs.arch import Arch
from rv_check.archs.axes import Axis
from rv_check.archs.load import load
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.errors import RvCheckError
from rv_check.modules.build import build
from rv_check.ops.op import OPS
from tests.unit.seeds import seeds


class Folder:
    """A folder of specs made up by a test."""

    def __init__(self, path: Path):
        """`path` an empty folder."""
        self.path = path
        self.made = 0

    def net(self, size: str, body: str) -> Arch:
        """The network of this input and these steps."""
        self.made += 1
        path = self.path / f"net{self.made}.yaml"
        steps = textwrap.indent(textwrap.dedent(body).strip("\n"), "  ")
        path.write_text(f"family: net()\ninput: {size}\nbody:\n{steps}\narchs:\n  net:\n    build: net()\n")
        return load(f"{path}::net")

    def block(self, signature: str, body: str) -> None:
        """A block that the networks of the folder can use."""
        steps = textwrap.indent(textwrap.dedent(body).strip("\n"), "  ")
        name = signature.partition("(")[0]
        (self.path / f"{name}.yaml").write_text(f"block: {signature}\nin: C H W\nbody:\n{steps}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder for specs."""
    return Folder(tmp_path)


def figures(arch: Arch) -> dict[str, int]:
    """Everything that is one integer."""
    return {
        "params": arch.params,
        "macs": arch.macs,
        "activations": arch.activations,
        "depth": arch.depth,
        "skips": arch.skip_connections,
    }


# Worked by hand


def test_a_small_network(folder: Folder) -> None:
    """A convolution, a norm, a pool and a classifier: every figure by hand."""
    arch = folder.net(
        "3 8 8",
        """
        - conv(4, kernel=3, padding=1, bias=True)
        - batchnorm
        - relu
        - maxpool(2)
        - flatten
        - linear(10, bias=True)
        """,
    )
    assert figures(arch) == {
        "params": 770,  # 4*3*9 + 4 = 112; norm 4 + 4 = 8; 4*4*4 = 64 features: 64*10 + 10 = 650
        "macs": 7552,  # 9*3*4 * 8*8 = 6912; 64*10 = 640
        "activations": 266,  # 4*8*8 = 256 and 10; the norm, relu and pool do not count
        "depth": 2,
        "skips": 0,
    }


def test_a_residual_network(folder: Folder) -> None:
    """The deepest branch is the depth; a projection costs parameters and MACs, and is no layer of the depth."""
    arch = folder.net(
        "4 8 8",
        """
        - sum:
            main:
              - conv(4, kernel=3, padding=1, bias=False)
              - relu
              - conv(4, kernel=3, padding=1, bias=False)
            skip: identity
        - sum:
            main:
              - conv(8, kernel=3, stride=2, padding=1, bias=False)
              - relu
              - conv(8, kernel=3, padding=1, bias=False)
            skip:
              - down: conv(8, kernel=1, stride=2, bias=False)
              - batchnorm
        """,
    )
    assert figures(arch) == {
        "params": 1200,  # 2 * 9*4*4 = 288; 9*4*8 = 288, 9*8*8 = 576; 4*8 = 32 and 16
        "macs": 32768,  # 288 * 64 = 18432; (288 + 576) * 16 = 13824; 32 * 16 = 512
        "activations": 896,  # 2 * 4*64 = 512; 3 * 8*16 = 384
        "depth": 4,
        "skips": 2,
    }


def test_depth_of_joins(folder: Folder) -> None:
    """Of a sum or concat the deepest branch counts, of a product the first, though the gate is deeper."""
    arch = folder.net(
        "4 8 8",
        """
        - concat:
            short: identity
            long:
              - conv(4, kernel=1, bias=False)
              - conv(4, kernel=1, bias=False)
              - conv(4, kernel=1, bias=False)
        - product:
            value: identity
            gate:
              - adaptive_avgpool(1)
              - conv(2, kernel=1, bias=True)
              - relu
              - conv(8, kernel=1, bias=True)
              - sigmoid
        - product:
            value:
              - conv(8, kernel=1, bias=False)
            gate:
              - conv(8, kernel=1, bias=False)
              - conv(8, kernel=1, bias=False)
        """,
    )
    assert arch.depth == 4  # 3 + 0 + 1
    assert arch.skip_connections == 0  # a concat and a product are no sums


SKIPS = {
    "identity": ("identity", 1),
    "a projection": ("- conv(4, kernel=1, bias=False)\n- batchnorm", 1),
    "a pool and a projection": ("- avgpool(1)\n- conv(4, kernel=1, bias=False)", 1),
    "a projection in a group": ("- down:\n    - conv(4, kernel=1, bias=False)", 1),
    "a norm alone": ("- batchnorm", 1),
    "a linear layer": ("- linear(8, bias=True)", 1),
    "an activation": ("- conv(4, kernel=1, bias=False)\n- relu", 0),
    "two layers": ("- conv(4, kernel=1, bias=False)\n- conv(4, kernel=1, bias=False)", 0),
    "a max-pool": ("- maxpool(1)", 0),
    "repeated norms": ("- repeat: 2\n  steps:\n    - batchnorm", 1),
    "repeated activations": ("- repeat: 2\n  steps:\n    - relu", 0),
    "a join": ("- concat:\n    a: identity\n    b: identity\n- conv(4, kernel=1, bias=False)", 0),
}


@pytest.mark.parametrize(("skip", "expected"), SKIPS.values(), ids=SKIPS.keys())
def test_skip_connections(folder: Folder, skip: str, expected: int) -> None:
    """A sum has a skip connection where a branch is the identity or one linear map, with no activation on it."""
    branch = " identity" if skip == "identity" else "\n" + textwrap.indent(skip, 6 * " ")
    main = "- sum:\n    main:\n      - relu\n      - conv(4, kernel=3, padding=1, bias=False)\n"
    assert folder.net("4 8 8", f"{main}    skip:{branch}").skip_connections == expected


def test_a_sum_with_one_branch_left_is_no_skip_connection(folder: Folder) -> None:
    """Where the other branches are not there, nothing is skipped."""
    body = "- sum:\n    skip: identity\n    main:\n      if: False\n      then: identity\n      else: none"
    assert folder.net("4 8 8", body).skip_connections == 0


# Receptive fields by hand. After a layer of kernel k, stride s, padding p: size += (k - 1)*jump, padding += p*jump,
# jump *= s.


def field(arch: Arch) -> str:
    """size/stride/padding, one axis where both agree."""
    return str(arch.receptive_field)


def test_a_chain(folder: Folder) -> None:
    """Size, jump and padding grow layer by layer: VGG's beginning."""
    arch = folder.net(
        "3 32 32",
        """
        - a: conv(4, kernel=3, padding=1, bias=False)
        - b: conv(4, kernel=3, padding=1, bias=False)
        - c: maxpool(2)
        - relu
        - d: conv(4, kernel=3, padding=1, bias=False)
        """,
    )
    # 1 -> 3/1/1 -> 5/1/2 -> 5 + 1*1 = 6, jump 2, padding 2 -> 6 + 2*2 = 10, padding 2 + 1*2 = 4
    rows = {row.name: str(row.receptive_field) for row in arch.rows()}
    assert rows == {"a": "3/1/1", "b": "5/1/2", "c": "6/2/2", "3": "6/2/2", "d": "10/2/4"}
    assert field(arch) == "10/2/4"
    assert (arch.receptive_field.size, arch.receptive_field.stride, arch.receptive_field.padding) == (10, 2, 4)


def test_dilation(folder: Folder) -> None:
    """A dilated kernel spans what it spans: 3 with dilation 2 is 5, with dilation 4 is 9."""
    arch = folder.net(
        "1 64 64",
        """
        - conv(1, kernel=3, padding=2, dilation=2, bias=False)
        - conv(1, kernel=3, stride=2, padding=4, dilation=4, bias=False)
        - conv(1, kernel=3, dilation=2, bias=False)
        """,
    )
    assert field(arch) == "21/2/6"  # 5/1/2 -> 13/2/6 -> 13 + 4*2 = 21, no padding added


def test_asymmetric_kernels(folder: Folder) -> None:
    """Rows and columns are kept apart."""
    arch = folder.net(
        "1 64 64",
        """
        - conv(1, kernel=[1, 7], stride=[2, 1], padding=[0, 3], bias=False)
        - conv(1, kernel=[7, 1], stride=[1, 2], padding=[3, 0], bias=False)
        - conv(1, kernel=3, dilation=[1, 2], bias=False)
        """,
    )
    # rows: 1/2/0 -> 1 + 6*2 = 13/2/6 -> 13 + 2*2 = 17/2/6; columns: 7/1/3 -> 7/2/3 -> 7 + 4*2 = 15/2/3
    assert field(arch) == "17/2/6 15/2/3"
    assert (arch.receptive_field.rows, arch.receptive_field.columns) == (Axis(17, 2, 6), Axis(15, 2, 3))
    assert (arch.receptive_field.size, arch.receptive_field.padding) == ((17, 15), (6, 3))
    assert arch.receptive_field.stride == 2


def test_a_sum_sees_the_union(folder: Folder) -> None:
    """Branches of 3 and 5 centred on one pixel see 5, and stay aligned."""
    arch = folder.net(
        "1 32 32",
        """
        - sum:
            three:
              - conv(1, kernel=3, padding=1, bias=False)
            five:
              - conv(1, kernel=5, padding=2, bias=False)
            one: identity
        """,
    )
    assert arch.receptive_field == ReceptiveField((Axis(5, 1, 2), Axis(5, 1, 2)), aligned=True)


def test_centres_that_differ_are_not_aligned(folder: Folder) -> None:
    """An even kernel and an odd one: [-1, 0] beside [-2, 0] is three pixels, and two centres."""
    arch = folder.net(
        "1 32 32",
        """
        - sum:
            even:
              - conv(1, kernel=2, stride=2, padding=1, bias=False)
              - avgpool(1)
            odd:
              - conv(1, kernel=3, stride=2, padding=2, bias=False)
        """,
    )
    # even: units from -1, two wide: [-1, 0]; odd: units from -2, three wide: [-2, 0]; together [-2, 0]
    assert arch.receptive_field == ReceptiveField((Axis(3, 2, 2), Axis(3, 2, 2)), aligned=False)


def test_one_axis_can_be_out_of_line(folder: Folder) -> None:
    """The columns alone spoil the alignment, and stay spoilt behind later layers."""
    arch = folder.net(
        "1 32 32",
        """
        - sum:
            here:
              - conv(1, kernel=[3, 1], padding=[1, 0], stride=2, bias=False)
            there:
              - conv(1, kernel=[3, 2], padding=[1, 0], stride=2, bias=False)
        - conv(1, kernel=3, padding=1, bias=False)
        """,
    )
    # rows 3/2/1 on both; columns [0, 0] and [0, 1]: 2/2/0; then +2*2 and +1*2
    assert arch.receptive_field == ReceptiveField((Axis(7, 2, 3), Axis(6, 2, 2)), aligned=False)


def test_a_branch_that_is_out_of_line_stays_so(folder: Folder) -> None:
    """A sum that is not aligned within makes the sum around it not aligned, though the branches see the same pixels."""
    arch = folder.net(
        "1 32 32",
        """
        - sum:
            joined:
              - sum:
                  even:
                    - conv(1, kernel=2, stride=2, padding=1, bias=False)
                  odd:
                    - conv(1, kernel=3, stride=2, padding=2, bias=False)
            plain:
              - conv(1, kernel=3, stride=2, padding=2, bias=False)
        """,
    )
    assert arch.receptive_field == ReceptiveField((Axis(3, 2, 2), Axis(3, 2, 2)), aligned=False)


def test_branches_beside_each_other(folder: Folder) -> None:
    """The union of fields with a gap between them reaches from the first pixel to the last."""
    arch = folder.net(
        "1 32 32",
        """
        - sum:
            left:
              - conv(1, kernel=1, stride=40, padding=3, bias=False)
            right:
              - conv(1, kernel=2, stride=40, bias=False)
        """,
    )
    # left: pixel -3 alone; right: [0, 1]; together [-3, 1]
    assert arch.receptive_field == ReceptiveField((Axis(5, 40, 3), Axis(5, 40, 3)), aligned=False)


def test_a_concat_sees_the_union(folder: Folder) -> None:
    """Concatenated maps are read together by whatever follows."""
    arch = folder.net(
        "4 32 32",
        """
        - concat:
            a:
              - conv(4, kernel=1, bias=False)
            b:
              - conv(4, kernel=3, padding=1, bias=False)
            c:
              - maxpool(3, stride=1, padding=1)
              - conv(4, kernel=5, padding=2, bias=False)
        - conv(4, kernel=3, bias=False)
        """,
    )
    assert field(arch) == "9/1/3"  # c: 3/1/1 -> 7/1/3; then +2, no padding
    assert arch.receptive_field.aligned


def test_a_gate_keeps_the_convolutional_field(folder: Folder) -> None:
    """A squeeze-excite gate makes the true field global; the field of the map itself stands beside."""
    arch = folder.net(
        "4 32 32",
        """
        - conv(4, kernel=3, padding=1, bias=False)
        - product:
            value: identity
            gate:
              - adaptive_avgpool(1)
              - conv(4, kernel=1, bias=True)
              - sigmoid
        - conv(4, kernel=3, padding=1, bias=False)
        """,
    )
    expected = ReceptiveField((Axis(5, 1, 2), Axis(5, 1, 2)), aligned=True, through_gate=True)
    assert arch.receptive_field == expected
    assert arch.receptive_field.is_global


def test_a_gate_within_a_branch_is_remembered(folder: Folder) -> None:
    """A gate in one branch of a sum is a gate of the sum."""
    arch = folder.net(
        "4 32 32",
        """
        - sum:
            main:
              - conv(4, kernel=3, padding=1, bias=False)
              - product:
                  value: identity
                  gate:
                    - adaptive_avgpool(1)
                    - sigmoid
            skip: identity
        """,
    )
    assert arch.receptive_field == ReceptiveField((Axis(3, 1, 1), Axis(3, 1, 1)), through_gate=True)


def test_the_field_stops_at_the_fixed_pool(folder: Folder) -> None:
    """After the pool to a fixed size the field is that of the last map before it; what follows does not change it."""
    arch = folder.net(
        "4 32 32",
        """
        - conv(4, kernel=3, stride=2, padding=1, bias=False)
        - adaptive_avgpool(3)
        - conv(4, kernel=3, bias=False)
        - flatten
        - linear(10, bias=True)
        """,
    )
    assert arch.receptive_field == ReceptiveField((Axis(3, 2, 1), Axis(3, 2, 1)), collapsed=True)
    assert [str(row.receptive_field) for row in arch.rows()] == ["3/2/1"] * 5
    assert [row.receptive_field.collapsed for row in arch.rows()] == [False, True, True, True, True]


def test_branches_that_all_collapse(folder: Folder) -> None:
    """Where every branch ends in a fixed size, the maps before it are read together."""
    arch = folder.net(
        "4 32 32",
        """
        - sum:
            a:
              - conv(4, kernel=3, padding=1, bias=False)
              - adaptive_avgpool(1)
            b:
              - conv(4, kernel=5, padding=2, bias=False)
              - adaptive_avgpool(1)
        """,
    )
    assert arch.receptive_field == ReceptiveField((Axis(5, 1, 2), Axis(5, 1, 2)), collapsed=True)


def test_a_residual_of_features(folder: Folder) -> None:
    """A skip connection behind the flatten changes nothing about the field, and is a skip connection."""
    arch = folder.net(
        "4 8 8",
        """
        - conv(4, kernel=3, bias=False)
        - flatten
        - sum:
            main:
              - linear(144, bias=True)
              - relu
            skip: identity
        """,
    )
    assert arch.receptive_field == ReceptiveField((Axis(3, 1, 0), Axis(3, 1, 0)), collapsed=True)
    assert (arch.skip_connections, arch.depth) == (1, 2)


def test_an_empty_network_is_a_point(folder: Folder) -> None:
    """Without a layer that has a window, a unit sees its own pixel."""
    assert folder.net("1 4 4", "- relu").receptive_field == ReceptiveField()


def test_fields_do_not_grow_without_end(folder: Folder) -> None:
    """A stride of 2 on one pixel, ten thousand times, is an error; 40 times is exact: 1 + 2*(2^40 - 1) pixels."""
    body = """
        - repeat: 10_000
          steps:
            - conv(1, kernel=3, stride=2, padding=1, bias=False)
        """
    with pytest.raises(RvCheckError, match="larger than 1,000,000,000,000,000 pixels"):
        _ = folder.net("1 1 1", body).receptive_field
    field = folder.net("1 1 1", body.replace("10_000", "40")).receptive_field
    assert (field.size, field.stride, field.padding) == (2**41 - 1, 2**40, 2**40 - 1)


# Repeats


SEEDED = {
    "a chain": """
        - conv(4, kernel=3, padding=1, bias=False)
        - batchnorm
        - relu
        """,
    "a residual block": """
        - sum:
            main:
              - conv(2, kernel=1, bias=False)
              - conv(4, kernel=[5, 3], padding=[2, 1], bias=True)
            skip: identity
        - relu
        """,
    "a gate": """
        - product:
            value:
              - conv(4, kernel=3, padding=1, bias=False)
            gate:
              - adaptive_avgpool(1)
              - conv(4, kernel=1, bias=True)
        """,
    "out of line": """
        - sum:
            a:
              - conv(4, kernel=2, padding=1, bias=False)
              - conv(4, kernel=2, bias=False)
            b:
              - conv(4, kernel=2, bias=False)
              - conv(4, kernel=2, padding=1, bias=False)
            c:
              - conv(4, kernel=4, padding=2, bias=False)
              - avgpool(2, stride=1)
        """,
}


@pytest.mark.parametrize("times", [0, 1, 2, 3, 7, 12])
@pytest.mark.parametrize("body", SEEDED.values(), ids=SEEDED.keys())
def test_a_repeat_is_what_it_stands_for(folder: Folder, body: str, times: int) -> None:
    """A repeat has the figures, the names and the listing of the same steps written out."""
    steps = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    head = "- conv(4, kernel=3, stride=2, padding=1, bias=False)\n"
    short = folder.net("3 16 16", f"{head}- repeat: {times}\n  steps:\n{steps}\n")
    full = folder.net("3 16 16", head + textwrap.dedent(body) * times)
    assert figures(short) == figures(full)
    assert short.receptive_field == full.receptive_field
    assert list(short.state.items()) == list(full.state.items())

    def listing(arch: Arch) -> list[tuple[object, ...]]:
        return [(r.name, r.op, r.x, r.y, r.params, r.macs, r.receptive_field) for r in arch.rows()]

    assert listing(short) == listing(full)


def test_repeats_within_repeats(folder: Folder) -> None:
    """2 rounds of 3 rounds of one convolution are 6: each adds 2 pixels and 144 parameters."""
    arch = folder.net(
        "4 8 8",
        """
        - repeat: 2
          steps:
            - repeat: 3
              steps:
                - conv(4, kernel=3, padding=1, bias=False)
        """,
    )
    assert (arch.params, arch.depth, field(arch)) == (864, 6, "13/1/6")
    assert [row.name for row in arch.rows()] == ["0", "1", "2", "3", "4", "5"]


def random_field(rng: random.Random, stride: int) -> ReceptiveField:
    """A field with flags that are set now and then."""

    def axis() -> Axis:
        return Axis(rng.randint(1, 9), stride, rng.randint(0, 4))

    return ReceptiveField((axis(), axis()), rng.random() < 0.8, rng.random() < 0.2, rng.random() < 0.1)


def test_times_is_composition_one_by_one() -> None:
    """n times a field is the field composed with itself n times, whatever its stride and flags."""
    rng = random.Random(0)
    for _ in range(200):
        one = random_field(rng, rng.choice([1, 1, 2, 3]))
        composed = ReceptiveField()
        for n in range(20):
            assert composed == one.times(n), f"{one!r}, {n} times"
            composed = composed.then(one)


def test_composition_is_associative() -> None:
    """What `times` and the folding of blocks rest on: (a then b) then c is a then (b then c)."""
    rng = random.Random(1)
    for _ in range(500):
        a, b, c = (random_field(rng, rng.choice([1, 2, 3])) for _ in range(3))
        assert a.then(b).then(c) == a.then(b.then(c))


# The shipped archs. Recomputed independently with torch: parameters and MACs counted on torchvision's models, receptive
# fields measured by gradients, with torch 2.15 and torchvision 0.29.1.

STAGES_50 = "35/4/17 91/8/45 267/16/133 427/32/213"
STAGES_101 = "35/4/17 91/8/45 811/16/405 971/32/485"
FACTS: dict[str, tuple[int, int, str, int]] = {
    "vgg11": (132_863_336, 7_609_090_048, "150/32/59", 11),
    "vgg13": (133_047_848, 11_308_466_176, "156/32/62", 13),
    "vgg16": (138_357_544, 15_470_264_320, "212/32/90", 16),
    "vgg19": (143_667_240, 19_632_062_464, "268/32/118", 19),
    "resnet18": (11_689_512, 1_814_073_344, "43/4/21 99/8/49 211/16/105 435/32/217", 18),
    "resnet34": (21_797_672, 3_663_761_408, "59/4/29 179/8/89 547/16/273 899/32/449", 34),
    "resnet50": (25_557_032, 4_089_184_256, STAGES_50, 50),
    "resnet101": (44_549_160, 7_801_405_440, STAGES_101, 101),
    "resnet152": (60_192_808, 11_513_626_624, "35/4/17 155/8/77 1291/16/645 1451/32/725", 152),
    "resnet50_v1": (25_557_032, 3_857_973_248, "483/32/241", 50),
    "resnet101_v1": (44_549_160, 7_570_194_432, "1027/32/513", 101),
    "resnet152_v1": (60_192_808, 11_282_415_616, "1507/32/753", 152),
    "resnext50_32x4d": (25_028_904, 4_230_479_872, STAGES_50, 50),
    "resnext101_32x8d": (88_791_336, 16_414_015_488, STAGES_101, 101),
    "resnext101_64x4d": (83_455_272, 15_460_270_080, STAGES_101, 101),
    "wide_resnet50_2": (68_883_240, 11_398_021_120, STAGES_50, 50),
    "wide_resnet101_2": (126_886_696, 22_753_050_624, STAGES_101, 101),
}


@pytest.mark.parametrize("name", FACTS)
def test_a_shipped_arch(name: str) -> None:
    """Parameters, MACs, receptive fields by stage and depth are those recomputed independently with torch."""
    params, macs, fields, depth = FACTS[name]
    arch = load(name)
    assert (arch.params, arch.macs, arch.depth) == (params, macs, depth)
    stages = ["features"] if name.startswith("vgg") else ["layer1", "layer2", "layer3", "layer4"]
    found = []
    for stage in stages:
        row = arch.step(stage)
        assert row is not None
        assert row.receptive_field.aligned
        found.append(str(row.receptive_field))
    expected = fields.split()
    assert found[-len(expected) :] == expected
    assert str(arch.receptive_field) == expected[-1]


@pytest.mark.parametrize(
    ("name", "skips"), [("resnet18", 8), ("resnet34", 16), ("resnet50", 16), ("resnet101", 33), ("vgg16", 0)]
)
def test_skip_connections_of_a_shipped_arch(name: str, skips: int) -> None:
    """A ResNet has one skip connection a block: 2+2+2+2, 3+4+6+3, 3+4+23+3; VGG has none."""
    assert load(name).skip_connections == skips


def test_activations_of_resnet18() -> None:
    """Outputs of convolutions and the classifier, by hand."""
    # conv1 64*112*112 = 802,816; layer1 4 * 64*56*56 = 802,816; layer2 5 * 128*28*28 = 501,760 with the projection;
    # layer3 5 * 256*14*14 = 250,880; layer4 5 * 512*7*7 = 125,440; fc 1,000
    assert load("resnet18").activations == 802_816 + 802_816 + 501_760 + 250_880 + 125_440 + 1_000


# Option A shortcuts, as in the paper. They have no parameters and no MACs, so that here two copies of the subsampled
# map stand in for the map and zeros: the language has no constants, and the figures are the same.

OPTION_A = """
    - sum:
        main:
          - conv(width, kernel=3, stride=stride, padding=1, bias=False)
          - batchnorm
          - relu
          - conv(width, kernel=3, padding=1, bias=False)
          - batchnorm
        skip:
          if: C != width
          then:
            - concat:
                map:
                  - avgpool(1, stride=stride)
                zeros:
                  - avgpool(1, stride=stride)
          else: identity
    - relu
    """


@pytest.mark.parametrize(
    ("depth", "params"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962), (1202, 19_421_274)],
)
def test_a_cifar_resnet(folder: Folder, depth: int, params: int) -> None:
    """He et al. 2015 section 4.2, 6n + 2 layers: parameters recomputed independently with torch."""
    folder.block("option_a(width, stride=1)", OPTION_A)
    n = (depth - 2) // 6
    arch = folder.net(
        "3 32 32",
        f"""
        - conv(16, kernel=3, padding=1, bias=False)
        - batchnorm
        - relu
        - stage(option_a, 16, {n}, stride=1)
        - stage(option_a, 32, {n}, stride=2)
        - stage(option_a, 64, {n}, stride=2)
        - adaptive_avgpool(1)
        - flatten
        - linear(10, bias=True)
        """,
    )
    assert (arch.params, arch.depth, arch.skip_connections) == (params, depth, 3 * n - 2)


@pytest.mark.parametrize(("depths", "macs"), [([2, 2, 2, 2], 1_794_805_760), ([3, 4, 6, 3], 3_644_493_824)])
def test_the_resnet_paper_counts_option_a(folder: Folder, depths: list[int], macs: int) -> None:
    """ResNet-18 and 34 as the paper's Table 1 counts them: recomputed independently with torch."""
    folder.block("option_a(width, stride=1)", OPTION_A)
    stages = [f"- stage(option_a, {64 * 2**i}, {depth}, stride={min(2, i + 1)})" for i, depth in enumerate(depths)]
    body = "\n".join(
        [
            "- conv(64, kernel=7, stride=2, padding=3, bias=False)",
            "- maxpool(3, stride=2, padding=1)",
            *stages,
            "- adaptive_avgpool(1)",
            "- flatten",
            "- linear(1000, bias=True)",
        ]
    )
    assert folder.net("3 224 224", body).macs == macs


@pytest.mark.parametrize(
    ("size", "call", "params", "macs"),
    [
        ("64 56 56", "basic(64)", 73_984, 231_211_008),
        ("64 56 56", "basic(128, stride=2)", 230_144, 179_830_784),
        ("64 56 56", "bottleneck(64)", 75_008, 231_211_008),
        ("256 56 56", "bottleneck(128, stride=2)", 379_392, 372_506_624),
        ("256 56 56", "bottleneck_v1(128, stride=2)", 379_392, 295_436_288),
    ],
)
def test_a_shipped_block(folder: Folder, size: str, call: str, params: int, macs: int) -> None:
    """The blocks on a 56x56 input: recomputed independently with torch."""
    arch = folder.net(size, f"- block: {call}")
    row = arch.step("block")
    assert row is not None
    assert (row.params, row.macs) == (params, macs)
    assert (arch.params, arch.macs) == (params, macs)


# Measured: the input pixels that reach one unit in the middle of the output, by gradient.


def all_positive(model: nn.Module) -> nn.Module:
    """The model with nothing that could hide a path: equal weights, averages for maxima, no norms and relus."""
    for module in model.modules():
        for name, child in module._modules.items():
            if isinstance(child, nn.ReLU | nn.BatchNorm2d):
                module._modules[name] = nn.Identity()
            if isinstance(child, nn.MaxPool2d):
                module._modules[name] = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    return model


def measured(arch: Arch) -> list[list[tuple[int, int]]]:
    """First and last input pixel of two neighbouring units in the middle of the output, for rows and columns."""
    model = all_positive(build(arch))
    x = torch.ones(1, *arch.input, requires_grad=True)
    y = model(x)
    middle = [side // 2 for side in y.shape[2:]]
    axes: list[list[tuple[int, int]]] = []
    for axis in (0, 1):
        ends = []
        for step in (0, 1):
            unit = list(middle)
            unit[axis] += step
            (gradient,) = torch.autograd.grad(y[0, :, unit[0], unit[1]].sum(), x, retain_graph=True)
            reached = (gradient[0] != 0).any(0).any(1 - axis).nonzero().flatten().tolist()
            ends.append((reached[0], reached[-1]))
        axes.append(ends)
    return axes


def predicted(arch: Arch) -> list[list[tuple[int, int]]]:
    """The same from the formula: unit k begins at k*stride - padding and is `size` long."""

    def ends(axis: Axis, k: int) -> tuple[int, int]:
        first = k * axis.stride - axis.padding
        return first, first + axis.size - 1

    axes = (arch.receptive_field.rows, arch.receptive_field.columns)
    middle = [side // 2 for side in arch.tree.root.y[1:]]
    return [[ends(axis, k), ends(axis, k + 1)] for axis, k in zip(axes, middle, strict=True)]


def random_steps(rng: random.Random, depth: int) -> list[str]:
    """Some lines of a body that keep the channels; strides only outside joins, so that branches agree."""
    lines: list[str] = []
    for _ in range(rng.randint(1, 3)):
        match rng.randint(0, 4 if depth else 2):
            case 0:
                half, step = rng.randint(0, 2), rng.randint(1, 2)
                lines.append(f"- conv(2, kernel={2 * half + 1}, padding={half * step}, dilation={step}, bias=False)")
            case 1:
                rows, columns = rng.randint(0, 2), rng.randint(0, 2)
                lines.append(
                    f"- conv(2, kernel=[{2 * rows + 1}, {2 * columns + 1}], padding=[{rows}, {columns}], bias=True)"
                )
            case 2:
                lines += ["- batchnorm", "- relu", "- maxpool(3, stride=1, padding=1)"]
            case kind:
                lines.append("- sum:" if kind == 3 else "- concat:")
                for label in "abc"[: rng.randint(2, 3)]:
                    if rng.random() < 0.3:
                        lines.append(f"    {label}: identity")
                        continue
                    # Both branches shift by one pixel, one to each side: the centres differ, the sizes do not.
                    shifted = rng.random() < 0.3
                    inner = random_steps(rng, depth - 1)
                    if shifted:
                        inner += rng.choice(
                            [
                                ["- conv(2, kernel=2, padding=1, bias=False)", "- conv(2, kernel=2, bias=False)"],
                                ["- conv(2, kernel=4, padding=1, bias=False)", "- avgpool(2, stride=1, padding=1)"],
                            ]
                        )
                    lines += [f"    {label}:", *(f"      {line}" for line in inner)]
                if kind == 4:
                    lines.append("- conv(2, kernel=1, bias=False)")
    return lines


def random_body(rng: random.Random) -> str:
    """A body with a few strides; small enough for the test below."""
    lines = []
    for _ in range(rng.randint(1, 3)):
        lines += random_steps(rng, 2)
        if rng.random() < 0.6:
            lines.append(
                rng.choice(
                    [
                        "- conv(2, kernel=3, stride=2, padding=1, bias=False)",
                        "- conv(2, kernel=2, stride=2, bias=False)",
                        "- conv(2, kernel=[3, 1], stride=[2, 1], padding=[0, 0], bias=False)",
                        "- maxpool(3, stride=2, padding=1)",
                        "- avgpool([2, 3], stride=[1, 2])",
                    ]
                )
            )
    return "\n".join(lines)


@seeds(40)
def test_a_field_is_what_the_gradient_reaches(folder: Folder, seed: int) -> None:
    """In a random network a unit in the middle reaches back to exactly the pixels of the formula, at both ends."""
    rng, side = random.Random(seed), 90
    arch = folder.net(f"2 {side} {side}", random_body(rng))
    while not all(first >= 0 and last < side for ends in predicted(arch) for first, last in ends):
        arch = folder.net(f"2 {side} {side}", random_body(rng))  # the middle saw a border
    assert predicted(arch) == measured(arch)


def test_a_gate_reaches_everything(folder: Folder) -> None:
    """Behind a gate the gradient reaches every pixel, as `through_gate` says."""
    arch = folder.net(
        "2 20 20",
        """
        - product:
            value:
              - conv(2, kernel=3, padding=1, bias=False)
            gate:
              - adaptive_avgpool(1)
              - conv(2, kernel=1, bias=False)
        """,
    )
    assert measured(arch) == [[(0, 19), (0, 19)]] * 2
    assert arch.receptive_field.through_gate
    assert field(arch) == "3/1/1"


# Equal blocks are analysed once.


@pytest.mark.parametrize("figure", ["params", "macs", "activations", "depth", "skip_connections", "receptive_field"])
def test_equal_blocks_are_analysed_once(figure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ResNet with 3,000 blocks in a stage asks each rule of its ops as often as one with 3."""
    calls = 0

    def counting(method):  # type: ignore[no-untyped-def]
        def counted(*args):  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            return method(*args)

        return counted

    for op in OPS.values():
        for rule in ("shape", "params", "macs", "window"):
            monkeypatch.setattr(op, rule, counting(getattr(op, rule)))

    def cost(depth: int) -> int:
        nonlocal calls
        calls = 0
        getattr(load(f"resnet50(depths=[3, 4, {depth}, 3])"), figure)
        return calls

    assert cost(1) < cost(3) == cost(3000)


def test_a_block_in_many_places_is_analysed_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of two blocks, each of two blocks, 16 deep: 65,536 convolutions, whose figures are asked for once."""
    folder.block("twice1()", "- conv(4, kernel=3, padding=1, bias=False)\n" * 2)
    for i in range(2, 17):
        folder.block(f"twice{i}()", f"- twice{i - 1}\n" * 2)
    arch = folder.net("4 8 8", "- twice16")
    assert arch.tree.root.layers == 2**16
    asked = []
    conv = OPS["conv"]
    for rule in ("params", "macs", "window"):
        method = getattr(conv, rule)
        monkeypatch.setattr(conv, rule, lambda *args, method=method, rule=rule: asked.append(rule) or method(*args))
    assert figures(arch) == {
        "params": 144 * 2**16,  # 9*4*4
        "macs": 9216 * 2**16,  # on 8*8
        "activations": 256 * 2**16,  # 4*8*8
        "depth": 2**16,
        "skips": 0,
    }
    assert arch.receptive_field.size == 1 + 2 * 2**16
    assert sorted(asked) == ["macs", "macs", "params", "params", "window", "window"]  # the two in the innermost


def test_depth_costs_nothing() -> None:
    """A ResNet of 90,002 layers, with the figures that its rule gives: 3*(64*64 + 9*64*64 + ...) added up by blocks."""
    deep, deeper = load("resnet50(depths=[3, 4, 6, 3])"), load("resnet50(depths=[3, 4, 30_000, 3])")
    extra = 30_000 - 6
    # a block of layer3: 1024*256 + 9*256*256 + 256*1024 weights and 2*(256 + 256 + 1024) of norms, on 14x14
    weights = 262_144 + 589_824 + 262_144
    assert deeper.params - deep.params == extra * (weights + 3_072)
    assert deeper.macs - deep.macs == extra * weights * 196
    assert deeper.depth - deep.depth == extra * 3
    assert deeper.receptive_field.size == 427 + extra * 2 * 16


# Listings


def test_rows_are_in_the_order_of_the_flow(folder: Folder) -> None:
    """A row for each layer and join, by name, with shapes, figures and the field in the network's input."""
    arch = folder.net(
        "2 8 8",
        """
        - stem: conv(2, kernel=3, padding=1, bias=False)
        - body:
            - sum:
                main:
                  - conv(2, kernel=3, padding=1, bias=True)
                  - last: batchnorm
                skip: identity
            - relu
        """,
    )
    assert [(r.name, r.op, r.params, r.macs, str(r.receptive_field)) for r in arch.rows()] == [
        ("stem", "conv(out=2, kernel=3, bias=False, padding=1)", 36, 2304, "3/1/1"),  # 9*2*2; 36*64
        ("body.0", "conv(out=2, kernel=3, bias=True, padding=1)", 38, 2304, "5/1/2"),
        ("body.last", "batchnorm", 4, 0, "5/1/2"),
        ("body.sum", "sum(main, skip)", 0, 0, "5/1/2"),
        ("body.2", "relu", 0, 0, "5/1/2"),
    ]
    assert {r.place.document.path for r in arch.rows()} == {arch.family.path}


def test_names_that_count_rounds(folder: Folder) -> None:
    """A name may hold the index of a repeat, in a group too; every listing and the `state_dict` agree on it."""
    arch = folder.net(
        "4 8 8",
        """
        - repeat: 3
          index: i
          steps:
            - conv{i+1}: conv(4, kernel=1, bias=False)
        - repeat: 2
          index: i
          steps:
            - layer{i}:
                - conv{i}: conv(4, kernel=1, bias=False)
                - sum:
                    main:
                      - norm{2*i}: batchnorm
                    skip: identity
        """,
    )
    layers = [*("conv1", "conv2", "conv3"), *("layer0.conv0", "layer0.norm0", "layer1.conv1", "layer1.norm2")]
    assert [row.name for row in arch.rows() if not row.op.startswith("sum")] == layers
    assert [name.removesuffix(".weight") for name in arch.state if name.endswith(".weight")] == layers
    assert [row.name for row in arch.rows(fold_at=1)] == ["conv1", "conv2", "conv3", "layer0", "layer1"]
    assert listings.names(arch.tree.root) == ["conv1", "conv2", "conv3", "layer0", "layer1"]
    assert list(build(arch, "meta").state_dict()) == list(arch.state)


def test_rows_can_be_folded() -> None:
    """Modules at a depth of names stand as one row, whose figures are those of what is in it."""
    arch = load("resnet18")
    folded = {row.name: row for row in arch.rows(fold_at=1)}
    assert " ".join(folded) == "conv1 bn1 2 maxpool layer1 layer2 layer3 layer4 avgpool 9 fc"
    assert (folded["layer1"].params, folded["layer1"].y) == (147_968, (64, 56, 56))  # 2 * 73,984
    for depth in (1, 2, 3, 4, None):
        rows = list(arch.rows(depth))
        assert sum(row.params for row in rows) == arch.params
        assert sum(row.macs for row in rows) == arch.macs
    assert list(arch.rows(4)) == list(arch.rows())


def test_a_step_is_found_by_its_name() -> None:
    """A layer or a module at any depth; a join has no name, and a name that is not there gives None."""
    arch = load("resnet50")
    conv = arch.step("layer2.0.conv2")
    assert conv is not None
    assert (conv.params, conv.macs, conv.y) == (147_456, 115_605_504, (128, 28, 28))  # 9*128*128; times 28*28
    assert str(conv.receptive_field) == "43/8/21"  # 35/4/17, then 2*4 more and a padding of 4
    assert [arch.step(name) for name in ("layer9", "layer2.0.sum", "layer2.7", "", "conv1.x")] == [None] * 5


def test_names_under_the_root() -> None:
    """The names that a contract can begin with are there for suggestions."""
    assert listings.names(load("vgg11").tree.root) == ["features", "avgpool", "2", "classifier"]
