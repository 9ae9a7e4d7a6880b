"""What goes into a module: made as tensors, taken from Python, told by the module; and files that do not import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rv_check import RvCheckError, macs, memory, receptive_field
from rv_check.graphs.network import At
from rv_check.language.inputs import one_image, parse_inputs
from rv_check.modules.generic_point import image
from rv_check.modules.inputs import inputs_of, inputs_taken, random_batch
from rv_check.modules.named import load_module
from rv_check.modules.observe import Subject


class Two(nn.Module):
    """Two images, the one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4, 2, bias=False)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head((2 * self.conv(left) - self.conv(right)).relu().mean((2, 3)))


class Words(nn.Module):
    """A text with a mask."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(50, width), nn.Linear(width, 2, bias=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        shown = mask[..., None].to(torch.float32)
        return self.head((self.table(ids) * shown).sum(1))


class Named(nn.Module):
    """A dict as its one argument."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.conv(batch["image"])


class Several(nn.Module):
    """A list as its one argument."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)

    def forward(self, images: list[Tensor], scale: float | None = None) -> Tensor:
        return sum((self.conv(one) for one in images), start=torch.zeros(()))


# Tensors


def test_one_image_is_what_it_always_was() -> None:
    """The main tensor holds the numbers of an image alone, whatever goes in beside it."""
    alone = image((3, 8, 8), 2, torch.float64, "cpu")
    for text in ("3 8 8", "bool 5, x: 3 8 8", "{a: int64 4 < 9, b: 3 8 8}"):
        assert torch.equal(random_batch(parse_inputs(text), 2, torch.float64, "cpu").main, alone)


def test_types_and_bounds() -> None:
    """Whole numbers lie below their bound; a mask hides something, and not all; fractions are of the type asked for."""
    inputs = parse_inputs("ids: int32 40 < 7, mask: bool 6, x: 5, z: complex64 2, flag: int64 6 < 2")
    made = random_batch(inputs, 3, torch.float64, "cpu").tensors
    assert [one.dtype for one in made.values()] == [
        torch.int32,
        torch.bool,
        torch.float64,
        torch.complex128,
        torch.int64,
    ]
    assert int(made["ids"].min()) >= 0
    assert int(made["ids"].max()) == 6
    for mask in (made["mask"], made["flag"].bool()):
        assert mask.any(1).all()
        assert not mask.all(1).any()
    assert not torch.equal(made["ids"], random_batch(inputs, 3, torch.float64, "cpu", seed=9).tensors["ids"])


def test_what_was_given_is_taken() -> None:
    """Whole numbers and truth values as they are, again from the first on; fractions are random, at any batch."""
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    inputs = inputs_of({"ids": ids, "x": torch.ones(2, 4)})
    assert str(inputs) == "ids: int64 3 < 7, x: 4"
    made = random_batch(inputs, 3, torch.float32, "cpu").tensors
    assert made["ids"].tolist() == [[1, 2, 3], [4, 5, 6], [1, 2, 3]]
    assert made["x"].shape == (3, 4)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((3, 8, 8), "3 8 8"),
        ([3, 8, 8], "3 8 8"),
        ("mask: bool 8", "mask: bool 8"),
        (torch.zeros(2, 3, 8, 8), "3 8 8"),
        ((torch.zeros(2, 3), torch.zeros(2, 5).bool()), "3, bool 5"),
        (((3, 8, 8), (3, 4, 4)), "3 8 8, 3 4 4"),
        (({"a": (3, 8)},), "{a: 3 8}"),
        ([torch.zeros(2, 3), torch.zeros(2, 3)], "[3, 3]"),
        ({"x": "int64 5 < 9", "flag": True}, "x: int64 5 < 9, flag: True"),
        ((torch.tensor(3), torch.zeros(1, 4)), "unbatched int64 < 4, 4"),
    ],
)
def test_from_python(given: Any, text: str) -> None:
    """A shape, a text, a tensor, a tuple of arguments by place, a dict of those by name."""
    assert str(inputs_of(given)) == text


@pytest.mark.parametrize("given", [(), (3, 0, 8), (3, 64.0, 64), 5, {3, 8}, ({},), {"x": 5}, []])
def test_error_no_input(given: Any) -> None:
    """What is none is said, with what would be one."""
    with pytest.raises(RvCheckError, match="expected: the shape of one image without the batch axis, as"):
        inputs_of(given)


# Wherever a module is taken


def test_macs() -> None:
    """Each call counts: worked out by hand, by shape, text, tensors, and the file's own."""
    conv = 6 * 6 * 4 * 3 * 9
    assert macs(Two(), "3 8 8, 3 8 8").total == 2 * conv + 8
    assert macs(Two(), {"left": torch.zeros(5, 3, 8, 8), "right": (3, 8, 8)}).total == 2 * conv + 8
    assert macs(Words(), "ids: int64 20 < 50, mask: bool 20").total == 16
    assert macs(Named(), "{image: 3 8 8, label: int64 < 3}").total == conv
    assert macs(Several(), ([(3, 8, 8), (3, 8, 8)], None)).total == 2 * conv


def test_memory_is_of_the_types_that_go_in() -> None:
    """A place takes eight bytes, a truth value one: by hand, while the mask is cast, and while the table is read."""
    places, numbers = 20 * 8, 20 * 4
    truths = memory(Words(1), "ids: int64 20 < 50, mask: bool 20").bytes.peak
    assert truths == max(places + 20 + numbers, places + numbers + numbers)
    whole = memory(Words(1), "ids: int64 20 < 50, mask: int64 20 < 2").bytes.peak
    assert whole == max(places + places + numbers, places + numbers + numbers)


def test_the_field_is_in_the_main_input() -> None:
    """What only depends on another image is not followed."""
    (line,) = [line for line in receptive_field(Two(), "3 8 8, 3 8 8").lines if line.op.startswith("relu")]
    assert line.field.size == 3


# What a module tells


class Fixed(nn.Module):
    """A small network of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 5), nn.Linear(4 * 24 * 24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(1))


TOLD: list[tuple[str, nn.Module, str]] = [
    (
        "channels",
        nn.Sequential(nn.Conv2d(4, 2, 3)),
        "input 4 224 224, since its first convolution (0) takes 4 channels",
    ),
    ("a size", Fixed(), "input 1 28 28, since its first convolution (conv) takes 1 channel, and of the usual sizes it"),
    ("a sequence", nn.Sequential(nn.Conv1d(2, 4, 9)), "input 2 1024, since its first convolution (0) takes 2 channels"),
    (
        "a volume",
        nn.Sequential(nn.Conv3d(1, 2, 3)),
        "input 1 16 112 112, since its first convolution (0) takes 1 channel",
    ),
    (
        "features",
        nn.Sequential(nn.Flatten(), nn.Linear(9, 2)),
        "input 9, since its first linear layer (1) takes 9 feat",
    ),
    ("a table", nn.Sequential(nn.Embedding(70, 4)), "input int64 128 < 70, since its first embedding (0) has 70 rows"),
    ("over time", nn.GRU(5, 3, batch_first=True), "input 128 5, since its first recurrent layer takes 5 features"),
    (
        "by use",
        nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 5, 3)),
        "input 2 224 224, since its first BatchNorm2d (0)",
    ),
]


@pytest.mark.parametrize(("module", "words"), [one[1:] for one in TOLD], ids=[one[0] for one in TOLD])
def test_what_a_module_tells(module: nn.Module, words: str) -> None:
    """Its first layer says what goes in, and that is said; what nobody has to be told is not inferred."""
    found = macs(module, ignore=())
    assert found.inferred.startswith(f"inferred: {words}")
    assert found.inferred in str(found)
    subject = Subject(nn.Conv2d(3, 2, 3))
    assert subject.settle((3, 224, 224)) == (3, 224, 224)
    assert subject.inferred is None


def test_nothing_is_inferred_in_place_of_what_was_said() -> None:
    """A question at an input that does not do is a wrong one."""
    with pytest.raises(RvCheckError, match="does not run at 3 28 28"):
        macs(Fixed(), "3 28 28")


ADVICE: list[tuple[str, nn.Module, Any, str]] = [
    (
        "two images",
        Two(),
        None,
        "it is forward(left, right): say what goes in, as --input 'left: 3 224 224, right: 3 22",
    ),
    ("a text", Words(), None, "as --input 'ids: int64 128 < 50, mask: bool 128' if these are the shapes"),
    ("too few", Two(), "3 8 8", "it is forward(left, right)"),
    ("another name", Words(), "ids: int64 8, masks: bool 8", "it is forward(ids, mask)"),
    (
        "no size does",
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(7, 2)),
        None,
        "its first convolution (0) takes 1 channel: ",
    ),
]


@pytest.mark.parametrize(("module", "given", "words"), [one[1:] for one in ADVICE], ids=[one[0] for one in ADVICE])
def test_error_says_what_to_write(module: nn.Module, given: Any, words: str) -> None:
    """The arguments of `forward`, and an input that may do."""
    with pytest.raises(RvCheckError) as raised:
        macs(module, given)
    assert words in str(raised.value)
    assert "example_inputs()" in str(raised.value)


def test_what_a_module_says_itself() -> None:
    """By a method, or as Lightning and transformers have it."""

    class Own(Fixed):
        def example_inputs(self) -> Tensor:
            return torch.zeros(3, 1, 28, 28)

    lightning = Fixed()
    lightning.example_input_array = torch.zeros(3, 1, 28, 28)
    for module in (Own(), lightning):
        found = macs(module)
        assert not found.inferred
        assert found.total == 24 * 24 * 4 * 25 + 3 * 4 * 24 * 24


@pytest.mark.parametrize(("name", "takes"), [("ids", "ids: int64 5 < 8"), ("pixels", None)])
def test_examples_of_a_library_are_those_of_a_module_with_such_arguments(name: str, takes: str | None) -> None:
    """A model of images has the same example as one of texts where its library gives all of them one."""

    class Model(nn.Module):
        dummy_inputs = {"ids": torch.tensor([[1, 7, 2, 3, 0]])}

    def ids(self: nn.Module, ids: Any, **more: Any) -> Any:
        return ids

    def pixels(self: nn.Module, pixels: Any = None, **more: Any) -> Any:
        return pixels

    found = inputs_taken(type("Own", (Model,), {"forward": {"ids": ids, "pixels": pixels}[name]})())
    assert (found and str(found)) == takes


def test_a_graph_knows_its_inputs_apart() -> None:
    """Two inputs of one shape are two, and each is called what it is called in the call."""
    graph = Subject(Two(), takes=parse_inputs("3 8 8, 3 8 8")).observe(At((3, 8, 8)))
    assert [node.name for node in graph.inputs] == ["input", "1"]
    assert graph.inputs[0].key != graph.inputs[1].key
    assert Subject(Two(), takes=one_image((3, 8, 8))).advice == ""


# Files


CLASS = "from torch import nn\nclass Net(nn.Conv2d):\n    def __init__(self):\n        super().__init__(3, 4, 3)\n"
PARSER = "import argparse\nfrom nets import Net\nparser = argparse.ArgumentParser()\n"
LOOP = """\
import torch
from nets import Net
net = Net()
while True:
    try:
        net(torch.ones(1, 3, 8, 8)).sum().backward()
    except Exception:
        pass
"""
EXAMPLE = "import torch\nfrom nets import Net\ndef example_inputs():\n    return torch.zeros(2, 3, 9, 9)\n"
FILES = {
    "nets.py": CLASS,
    "pkg/__init__.py": "",
    "pkg/inner/__init__.py": "",
    "pkg/inner/up.py": "from ..blocks import Net\n",
    "pkg/inner/beside.py": "from .other import Net\n",
    "pkg/blocks.py": "from nets import Net\n",
    "pkg/inner/other.py": "from ..blocks import Net\n",
    "loose/part.py": "from .near import Net\n",
    "loose/near.py": "from nets import Net\n",
    "tools/train/net.py": "from shared.parts import Net\n",
    "shared/__init__.py": "",
    "shared/parts.py": "from nets import Net\n",
    "required.py": f"{PARSER}parser.add_argument('data')\nparser.parse_args()\n",
    "defaults.py": f"{PARSER}parser.add_argument('--lr')\nparser.parse_args()\n",
    "ends.py": "from nets import Net\nimport sys\nif len(sys.argv) != 2:\n    sys.exit('usage: ends.py DATA')\n",
    "trains.py": LOOP,
    "reads.py": "from nets import Net\nopen('data.csv')\n",
    "example.py": EXAMPLE,
    "no_example.py": "from nets import Net\ndef example_inputs():\n    raise KeyError('data')\n",
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of a project."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


SCRIPT = 'put what it does under `if __name__ == "__main__":`, or the class into a file of its own'


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pkg/inner/up.py", "it is a part of a package: name it pkg.inner.up:NAME, in the folder "),
        ("pkg/inner/beside.py", "it is a part of a package: name it pkg.inner.beside:NAME, in the folder "),
        ("loose/part.py", "it is a part of a package: name it loose.part:NAME, in the folder "),
        (
            "required.py",
            f"it ends the program when it is imported, as a script does that reads its command line: {SCRIPT}",
        ),
        ("ends.py", SCRIPT),
        (
            "trains.py",
            "it starts training when it is imported\n  trains.py:6 in <module>: net(torch.ones(1, 3, 8, 8)).sum",
        ),
        ("reads.py", f"if it reads that as a script does: {SCRIPT}"),
    ],
)
def test_error_a_file_that_cannot_be_imported(name: str, words: str, files: Path) -> None:
    """It is said why, and what to do; that does what it says."""
    arguments = list(sys.argv)
    with pytest.raises(RvCheckError) as raised:
        load_module(f"{name}:Net")
    assert words in str(raised.value)
    assert sys.argv == arguments
    torch.ones(2, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]
    if "name it" in words:
        named = words.partition("name it ")[2].partition(":NAME")[0]
        assert isinstance(load_module(f"{named}:Net").module, nn.Module)


def test_error_a_package_beside(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file imports lies in a folder above it."""
    monkeypatch.setattr(sys, "path", [one for one in sys.path if Path(one) != files])
    monkeypatch.chdir(files / "tools")
    with pytest.raises(RvCheckError) as raised:
        load_module("train/net.py:Net")
    assert "it is a part of a package: name it tools.train.net:NAME, in the folder " in str(raised.value)


def test_a_script_with_defaults(files: Path) -> None:
    """It reads its own command line, which is empty."""
    assert isinstance(load_module("defaults.py:Net").module, nn.Module)


def test_the_example_of_a_file(files: Path) -> None:
    """It says what goes in, unless somebody types it."""
    candidate = load_module("example.py:Net")
    assert str(inputs_of(candidate.input(None))) == "3 9 9"
    assert candidate.input("3 7 7") == "3 7 7"
    with pytest.raises(RvCheckError, match="gives no input: KeyError: 'data'"):
        load_module("no_example.py:Net").input(None)
