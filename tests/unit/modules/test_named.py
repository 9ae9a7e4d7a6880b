"""A user's module by name, and the table of them in a pyproject.toml: what is read, and what is told of the rest."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch

from rv_check import RvCheckError, SpecError
from rv_check.modules.named import is_module_name, load_module
from rv_check.pytest_plugin.pyproject import load_candidates

NAMES: list[tuple[str, bool]] = [
    ("nets.py:Net", True),
    ("deep/nets.py:Net", True),
    ("/tmp/nets.py:make", True),
    ("package.module:Net", True),
    ("nets:Net", True),
    ("resnet18", False),
    ("resnet50(classes=10)", False),
    ("tiny.yaml::net", False),
    ("deep/tiny.yaml::net(classes=3)", False),
    ("tiny.yaml::net(name=a:b)", False),
]


@pytest.mark.parametrize(("name", "is_one"), NAMES)
def test_names(name: str, is_one: bool) -> None:
    """One colon makes a module, two an arch; what stands in parentheses is not looked at."""
    assert is_module_name(name) == is_one


MODULES = """\
from torch import nn

class Net(nn.Linear):
    def __init__(self, inner=2, outer=3):
        super().__init__(inner, outer)

made = Net()

def make(outer, **more):
    return Net(outer=outer)

def raising():
    raise SystemExit(3)

text = "net"
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with modules."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "nets.py"
    path.write_text(MODULES)
    return path


def test_a_module_is_loaded(nets: Path) -> None:
    """A class and a factory are called, with arguments by name, and what they give is new; what is there is not."""
    module, fresh, _ = load_module(f"{nets}:Net")
    assert (module.out_features, fresh) == (3, True)
    module, fresh, _ = load_module(f"{nets}:Net", {"outer": 5})
    assert (module.out_features, fresh) == (5, True)
    module, fresh, _ = load_module(f"{nets}:make", {"outer": 6, "any": 1})
    assert (module.out_features, fresh) == (6, True)
    module, fresh, _ = load_module(f"{nets}:made")
    assert isinstance(module, torch.nn.Module)
    assert not fresh


ERRORS: list[tuple[str, dict[str, object], str]] = [
    ("Nett", {}, "did you mean: Net"),
    ("make", {}, "make(outer, **more) cannot be called without arguments: missing a required argument: 'outer'"),
    ("Net", {"outr": 3}, "cannot be called with outr: got an unexpected keyword argument 'outr'"),
    ("Net", {"outer": -1}, "Net() cannot be built: RuntimeError: "),
    ("made", {"outer": 3}, "is a module, built already"),
    ("raising", {}, "raising() cannot be built: SystemExit: 3"),
    ("text", {}, "is a str\n  expected: a torch.nn.Module, or what makes one"),
    ("", {}, "is no module\n  expected: file.py:Name or package.module:Name"),
]


@pytest.mark.parametrize(("name", "arguments", "words"), ERRORS, ids=[f"{e[0]}-{len(e[1])}" for e in ERRORS])
def test_error_a_module_that_cannot_be_loaded(name: str, arguments: dict[str, object], words: str, nets: Path) -> None:
    """It is said what was tried, what went wrong, and what would do."""
    with pytest.raises(RvCheckError) as raised:
        load_module(f"{nets}:{name}", arguments)
    assert words in str(raised.value)


TABLE = """\
[tool.rv_check.candidates]
"nets.py:Net" = "resnet18"

[tool.rv_check.candidates.small]
module = "pkg.nets:small"
as = "resnet18(classes=10)"
kwargs = { num_classes = 10, deep = [1, 2] }
until = "layer4"
"""


def test_a_table_is_read(tmp_path: Path) -> None:
    """A line is a module and its arch; a table of its own says more; each knows its line."""
    path = tmp_path / "pyproject.toml"
    path.write_text(TABLE)
    short, long = load_candidates(path)
    assert tuple(short)[:5] == ("nets.py:Net", "nets.py:Net", "resnet18", {}, None)
    kwargs = {"num_classes": 10, "deep": [1, 2]}
    assert tuple(long)[:5] == ("small", "pkg.nets:small", "resnet18(classes=10)", kwargs, "layer4")
    assert (short.place.document.path, short.place.line) == (path, 2)
    assert long.place.line == 4


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "[tool.rv_check]\n", "[tool.rv_check.candidates]\n"])
def test_no_table(text: str, tmp_path: Path) -> None:
    """A file without candidates has none."""
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    assert load_candidates(path) == []


BAD: list[tuple[str, str]] = [
    ("[tool.rv_check.candidates", "this is no TOML: "),
    ("[tool.rv_check]\ncandidates = 3", "candidates is no table"),
    ("[tool]\nrv_check = 3", "rv_check is no table"),
    ("[tool.rv_check.candidates]\nx = 3", "candidate 'x' is a int"),
    ("[tool.rv_check.candidates]\nx = 'resnet18'", "the module of candidate 'x' is 'x'"),
    ("[tool.rv_check.candidates.x]\nmodule = 'a:b'", "candidate 'x' does not say what it should be"),
    ("[tool.rv_check.candidates.x]\nmodule = 'a:b'\nas = 'resnet18'\nutil = 'x'", "has no key 'util'"),
    ("[tool.rv_check.candidates.x]\nmodule = 'a:b'\nas = 'resnet18'\nuntil = 3", "kwargs or until of candidate 'x'"),
]


@pytest.mark.parametrize(("text", "words"), BAD, ids=[b[1] for b in BAD])
def test_error_a_table_that_is_wrong(text: str, words: str, tmp_path: Path) -> None:
    """An error with its place, and nothing but one."""
    path = tmp_path / "pyproject.toml"
    path.write_text(text + "\n")
    with pytest.raises(SpecError) as raised:
        load_candidates(path)
    assert words in str(raised.value)


def test_errors_come_together(tmp_path: Path) -> None:
    """All that is wrong with a table is told at once, each at its line."""
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.rv_check.candidates]\nx = 3\n"a.py:Net" = "resnet18"\ny = 4\n')
    with pytest.raises(SpecError) as raised:
        load_candidates(path)
    assert [problem.place.line for problem in raised.value.problems if problem.place] == [2, 4]


def test_pretrained_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torchvision's deprecated argument ends in a download that fails, or in its warning as an error."""
    pytest.importorskip("torchvision")
    path = tmp_path / "old.py"
    path.write_text(
        "from torchvision.models import resnet18\n\n\ndef net():\n    return resnet18(pretrained=True)\n\n\n"
        "def untrained():\n    return resnet18(pretrained=False)\n"
    )

    built = tmp_path / "built.py"
    built.write_text("from torchvision.models import resnet18\n\nnet = resnet18(pretrained=True)\n")

    def refused(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refused)
    for action in ("always", "error"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)  # type: ignore[arg-type]
            with pytest.raises(RvCheckError) as raised:
                load_module(f"{path}:net")
            with pytest.raises(RvCheckError, match='expected: weights="IMAGENET1K_V1"'):
                load_module(f"{built}:net")
        assert 'expected: weights="IMAGENET1K_V1"' in str(raised.value)
        assert "old.py:5 in net" in str(raised.value)
    with pytest.warns(UserWarning, match="deprecated since") as told:
        assert load_module(f"{path}:untrained").fresh
    assert "'pretrained' is deprecated" in str(told[0].message)  # passed on
