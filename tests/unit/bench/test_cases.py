"""Which cases are timed: what a spec says, what the command line says, what shards have."""

from __future__ import annotations

from pathlib import Path

import pytest

from rv_check.bench.cases import (
    BenchSubject,
    Group,
    Selection,
    at,
    parse_batches,
    parse_input,
    parse_shard,
    parse_words,
    select,
    shard,
)
from rv_check.errors import RvCheckError
from rv_check.language.inputs import one_image

SPEC = """\
family: net(width)
input: 3 32 32
body:
  - conv(width, kernel=3, bias=True)
  - relu
archs:
  small:
    build: net(4)
  large:
    build: net(8)
bench:
  - arch: small large
    pass: inference step
    batch: 1 2
    tolerance: 2.5%
  - arch: small
    device: cuda
    dtype: tf32
    mode: eager graph
    input: 3 64 64
"""
CPU = Selection("cpu")


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """A spec with standard cases."""
    path = tmp_path / "net.yaml"
    path.write_text(SPEC)
    return str(path)


def ids(groups: list[Group]) -> list[str]:
    """The ids of all cases."""
    return [case.id for group in groups for case in group.cases]


def test_a_spec_says_what_is_timed(spec: str) -> None:
    """Every combination of an entry, each with its tolerance; what is of CUDA is not of the CPU."""
    groups = select([spec], CPU)
    assert ids(groups) == [
        f"{name} {pass_} float32 contiguous eager batch {batch} 3x32x32 cpu"
        for name in ("small", "large")
        for pass_ in ("inference", "step momentum")
        for batch in (1, 2)
    ]
    assert {group.tolerance for group in groups} == {0.025}


def test_cuda_has_cases_of_its_own(spec: str) -> None:
    """Those of any device, and those that name it; a number of the device is not part of a case's name."""
    groups = select([f"{spec}::small"], Selection("cuda:1"))
    assert ids(groups)[4:] == [
        "small inference tf32 contiguous eager batch 1 3x64x64 cuda",
        "small inference tf32 contiguous graph batch 1 3x64x64 cuda",
    ]
    assert {group.point.device for group in groups} == {"cuda:1"}


def test_the_command_line_counts_before_the_spec(spec: str) -> None:
    """An axis that is given replaces the spec's; two entries that become one case are timed once."""
    selection = Selection("cpu", {"pass": ("backward",)}, (4,), one_image((3, 48, 48)), 0.01)
    groups = select([f"{spec}::small"], selection)
    assert ids(groups) == ["small backward float32 contiguous eager batch 4 3x48x48 cpu"]
    assert groups[0].tolerance == 0.01


def test_without_a_section_the_defaults_are_timed() -> None:
    """A module, and an arch of a family without one."""
    assert ids(select(["mynet.py:Net"], CPU)) == [
        "mynet.py:Net inference float32 contiguous eager batch 1 3x224x224 cpu"
    ]


def test_subjects_stand_side_by_side(spec: str) -> None:
    """Each at the points of the first one."""
    groups = select([f"{spec}::small", "mynet.py:Net"], CPU)
    assert len(groups) == 4
    assert all([subject.name for subject in group.subjects] == ["small", "mynet.py:Net"] for group in groups)


def test_an_arch_beside_its_reference(spec: str) -> None:
    """The second subject is built by the reference; where there is none it is said."""
    (group,) = select(["vgg11"], CPU, with_reference=True)
    assert [subject.name for subject in group.subjects] == ["vgg11", "vgg11 by torchvision.models.vgg11"]
    with pytest.raises(RvCheckError, match="small has no reference"):
        select([f"{spec}::small"], CPU, with_reference=True)


def test_the_shipped_specs_have_cases_on_both_devices() -> None:
    """The default set, few on the CPU so that it stays within two minutes."""
    on_cpu, on_cuda = select([], CPU), select([], Selection("cuda"))
    assert {"resnet18", "resnet50", "vgg11"} == {group.subjects[0].name for group in on_cpu}
    assert len(on_cpu) <= 8
    assert {group.point.dtype for group in on_cuda} == {"float32", "tf32", "autocast"}
    assert "graph" in {group.point.mode for group in on_cuda}


def test_shards_are_a_partition() -> None:
    """All of them together are all cases, each once, whatever the number."""
    groups = select([], Selection("cuda"))
    for of in (1, 2, 3, 7, 100):
        parts = [shard(groups, (at_, of)) for at_ in range(1, of + 1)]
        assert sorted(ids([group for part in parts for group in part])) == sorted(ids(groups))


def test_an_arch_at_the_input_of_the_point(spec: str) -> None:
    """What it costs is what it costs there."""
    (group,) = select([f"{spec}::small"], Selection("cpu", {"pass": ("inference",)}, (1,), one_image((3, 10, 10))))
    arch = at(group.subjects[0], group.point).arch
    assert arch is not None
    assert arch.macs == 4 * 27 * 8 * 8  # 3x3 over 3 channels, 8x8 outputs, 4 filters
    assert at(BenchSubject("m.py:N"), group.point) == BenchSubject("m.py:N")


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: parse_words("float32,float8", "dtype"), "unknown dtype 'float8'\n  expected: float32, tf32"),
        (lambda: parse_words("", "pass"), "unknown pass ''"),
        (lambda: parse_words("infrence", "pass"), "did you mean: inference"),
        (lambda: parse_batches("1,0"), "--batch is '1,0'\n  expected: numbers of images"),
        (lambda: parse_batches("x"), "--batch is 'x'"),
        (lambda: parse_shard("3/2"), "--shard is '3/2'\n  expected: which of how many"),
        (lambda: parse_shard("0/2"), "--shard is '0/2'"),
        (lambda: parse_input("3 x 32"), "input is '3 x 32'"),
        (
            lambda: select(["resnet18"], Selection("cpu", input=one_image((3, 32)))),
            "conv needs an input C H W, found 3 32",
        ),
        (
            lambda: select(["resnet18"], Selection("cpu", input=parse_input("3 8 8, 3 8 8"))),
            "resnet18 is an arch, which takes one image",
        ),
        (lambda: select([], Selection("cpu", {"dtype": ("tf32",)})), "tf32 is of CUDA devices only\n  expected: on"),
        (lambda: select(["resnet18"], Selection("cpu", {"mode": ("graph",)})), "graph is of CUDA devices only"),
        (lambda: select(["resnet19"], CPU), "unknown arch 'resnet19'"),
        (lambda: select(["nothing.yaml"], CPU), "there is no such file"),
    ],
)
def test_bad_questions(ask, words: str) -> None:
    """What was found, what was expected."""
    with pytest.raises(RvCheckError) as error:
        ask()
    assert words in str(error.value)


def test_a_file_without_cases(spec: str) -> None:
    """It is said which file has none for the device."""
    path = Path(spec)
    path.write_text(SPEC.partition("bench:")[0])
    with pytest.raises(RvCheckError, match=r"no `bench:` section has a case for cpu: .*net\.yaml"):
        select([spec], CPU)
