"""The JSON that commands print, and the schemas that docs/json.md is made of: neither has a key the other lacks."""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator, ValidationError

from rv_check.cli.main import main
from rv_check.graphs.differences import DifferenceKind

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "schemas"
PAGE = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^<!-- (?:measured )?example: .*? -->\n```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
OWN = {"accuracy-state/1", "checkpoint/1"}  # files that only rv-check reads
Hold = Callable[[Any], None]


def test_every_schema_is_documented() -> None:
    """Each that the package names has a file, a section and an example; no file is of a schema that there is not."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "rv_check").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r'"rv-check/([\w-]+/\d+)"', text)}
    assert named >= OWN
    assert all(f"`rv-check/{name}`" in PAGE for name in OWN)
    files = {path.stem for path in SCHEMAS.glob("*-[0-9].json")}
    assert files == {name.replace("/", "-") for name in named - OWN}
    assert files == set(re.findall(r"^```{schema} (\S+-\d)$", PAGE, re.MULTILINE))
    shown = {json.loads(text)["schema"].removeprefix("rv-check/") for text in EXAMPLES}
    assert shown == named - OWN


def test_every_kind_of_difference_is_documented() -> None:
    """A finding's `kind` may be any that the match of two graphs tells; without one of them this fails."""
    kinds = json.loads((SCHEMAS / "finding.json").read_text(encoding="utf-8"))["properties"]["kind"]["enum"]
    assert set(get_args(DifferenceKind)) <= set(kinds)


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object that a schema speaks of."""
    if isinstance(schema, dict):
        if "object" in str(schema.get("type")):
            yield schema
        for one in schema.values():
            yield from objects(one)
    elif isinstance(schema, list):
        for one in schema:
            yield from objects(one)


OPEN = {"flags", "device", "before", "after"}  # objects of bench: what torch and the device say of themselves


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_schemas_are_strict(path: Path) -> None:
    """No object may have a key that is not named, but those that are open on purpose."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    free = [one for one in objects(schema) if "additionalProperties" not in one]
    assert all("properties" not in one for one in free)
    assert len(free) == (len(OPEN) if path.stem == "bench-1" else 0)


def changed(found: Any) -> Iterator[Any]:
    """The object with a key less, a key more, and a value of another type, at every place that is not open."""
    for key in found if isinstance(found, dict) else ():
        less, other = copy.deepcopy(found), copy.deepcopy(found)
        del less[key]
        other[key] = [{"another": "thing"}]
        yield less
        yield other
    yield {**found, "more": 1}


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: json.loads(text)["schema"])
def test_a_change_of_an_example_is_noticed(text: str, hold_schema: Hold) -> None:
    """At its top, and in the first object of every list in it."""
    example = json.loads(text)
    hold_schema(example)
    optional = {"fits", "smallest_input", "published", "gradients", "memory", "subject", "input", "steps"}
    for wrong in changed(example):
        missing = set(example) - set(wrong)
        if "schema" in wrong and isinstance(wrong["schema"], str) and not missing & optional:
            with pytest.raises(ValidationError):
                hold_schema(wrong)
    for key, value in example.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            with pytest.raises(ValidationError):
                hold_schema({**example, key: [{**value[0], "more": 1}]})
            for within in value[0].keys() - {"phases", "measured", "effective"}:
                with pytest.raises(ValidationError):
                    hold_schema({**example, key: [{k: v for k, v in value[0].items() if k != within}]})


NET = """
import torch
from torch import nn

class Up(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 4, 3, 2), nn.Conv2d(4, 3, 3))

class Odd(nn.Module):
    def forward(self, x):
        return torch.fft.fft2(x).abs()

class Line(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv1d(3, 4, 3), nn.ConvTranspose1d(4, 4, 3, 2))

class Video(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv3d(3, 4, (1, 3, 5)), nn.ConvTranspose3d(4, 4, (1, 2, 2), (1, 2, 2)))

class Block(nn.Module):
    def __init__(self, inplanes, planes, stride=1, downsample=None):
        super().__init__()
        self.conv = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        return self.bn(self.conv(x)).relu() + (x if self.downsample is None else self.downsample(x))
"""
COMMANDS = [  # what the examples of the page do not show
    "show vgg11 --json",
    "show resnet18 --input '3 64 96' --depth 2 --json",
    "check vgg11 --level spec --json",
    "check plain18 resnet50_v1 'resnet18(width=4)' --level spec --json",
    "check net.py:Up --as resnet18 --level structure --json",
    "check resnet18 --level structure --json",
    "diff resnet18 plain18 --json",
    "diff resnet18 resnet18 --json",
    "report resnet50 plain34 --level spec --format json",
    "macs net.py:Up --input '3 16 16' --memory --json",
    "macs resnet18 --memory --batch 4 --json",
    "macs net.py:Odd --input '3 8 8' --memory --json",
    "macs net.py:Odd --input '3 8 8' --rule '_fft_c2c = y[1]' --json",
    "macs net.py:Odd --input '3 8 8' --ignore _fft_c2c --memory --json",
    "receptive-field net.py:Up --input '3 24 24' --measure --json",
    "receptive-field net.py:Line --input '3 24' --measure --json",
    "receptive-field net.py:Video --input '3 8 24 24' --measure --fits 7 --json",
    "receptive-field resnet18 --fits 100 --json",
    "receptive-field --compare-published --json",
    "receptive-field 'resnet50(block=se_bottleneck)' --depth 2 --json",
    "receptive-field 'resnet18(width=4)' --input '3 64 64' --effective --runs 1 --json",
    "block net.py:Block --property shape --property cost --examples 2 --json",
    "swap 'resnet18(width=8)' --block plain --stages 2 --seeds 0 --memory 2 --json",
    "claims --format json",
    "transfer resnet18 --classes 2 --static --json",
    "study gradients --stack mlp-bn --depth 1 --seeds 2 --steps 1 --no-picture --json",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_commands_print_fits_its_schema(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hold_schema: Hold
) -> None:
    """It fits with other options, subjects and outcomes than the examples have."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    assert main(shlex.split(command)) in (0, 1)
    hold_schema(json.loads(capsys.readouterr().out))
