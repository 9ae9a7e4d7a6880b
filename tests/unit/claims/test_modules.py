"""Claims about modules, in files: every quantity is what it is of the spec, and what cannot be said is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rv_check.checks.printed import HOLDS
from rv_check.claims.claim import Verdict, judge_all
from rv_check.claims.file import load_claims
from rv_check.claims.vocabulary import ACCURACIES, FLAT, MAPPED, OF_FIELD, OF_LAYER, QUANTITIES, TOTALS
from rv_check.errors import CannotRun, SpecError
from rv_check.modules import named

NETS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, channels=3, widths=(8, 4), momentum=0.5):
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(widths[0], momentum=momentum)
        self.head = nn.Conv2d(widths[0], widths[1], 1, bias=False)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)))


class Two(Net):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return y, self.head(y)


class Fourier(Net):
    def forward(self, x):
        return torch.fft.fft2(self.head(self.conv(x))).real


class Shared(Net):
    def forward(self, x):
        y = self.conv(x)
        return self.head(y) + self.head(y * 2)


class Up(Net):
    def forward(self, x):
        return nn.functional.interpolate(self.head(self.conv(x)), scale_factor=4)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(50, 4), nn.Linear(4, 2)

    def forward(self, ids, mask=None):
        y = self.table(ids)
        return self.fc(y if mask is None else y * mask[..., None])


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.LazyLinear(3)

    def forward(self, x):
        return self.fc(x)


made = Net()
"""


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., list[Verdict]]:
    """The verdicts on statements, each an expression and what is printed of it."""
    (tmp_path / "nets.py").write_text(NETS)

    def judge(modules: str, *statements: tuple[str, str], more: str = "") -> list[Verdict]:
        lines = [f"  {name}: {what}" for name, _, what in (one.partition(": ") for one in modules.split("; "))]
        said = [f'  - is: {about}\n    printed: "{printed}"' for about, printed in statements]
        path = tmp_path / "said.yaml"
        path.write_text("\n".join(["claims: x", "source: y", "modules:", *lines, more, "statements:", *said, ""]))
        return judge_all(load_claims(path))

    return judge


def test_as_the_spec_says(judged: Callable) -> None:
    """torchvision's module has the totals of the spec, which come from its text, whole and in part."""
    whole = [*TOTALS, *OF_FIELD]
    of_parts = [
        *(("layer2", name) for name in (*TOTALS, *MAPPED, *OF_FIELD) if name not in ("depth", "in_channels")),
        *(("conv1", name) for name in (*OF_LAYER, *MAPPED)),
        *(("fc", name) for name in (*FLAT, "params", "macs", "weights")),
    ]
    pairs = [(name, f"resnet18.{name}") for name in whole]
    pairs += [(f"{part}.{name}", f"resnet18.{part}.{name}") for part, name in of_parts]
    statements = [(f"(net.{a}) - {b}", "0.000") for a, b in pairs]
    found = judged("net: torchvision.models:resnet18", *statements)
    assert {verdict.claim.title: verdict.value for verdict in found if verdict.value != "0"} == {}
    assert {name for name, _ in pairs} >= set(QUANTITIES) - set(ACCURACIES) - {*FLAT, *MAPPED, *OF_LAYER}


# 3x3x3x8 + 8 of the first, 2 * 8 of the norm, 8 * 4 of the last: 224 + 16 + 32; 16x16 places of 32x32 with stride 2.
HAND = [
    ("net.params", "272"),
    ("net.weights", "248"),
    ("net.convs", "2"),
    ("net.macs", "63_488"),  # 16*16 * (216 + 32)
    ("net.activations", "3_072"),  # 16*16 * (8 + 4)
    ("net.depth", "2"),
    ("net.rows", "16"),
    ("net.in_channels", "3"),
    ("net.out_channels", "4"),
    ("net.conv.stride", "2"),
    ("net.conv.in_channels", "3"),
    ("net.norm.params", "16"),
    ("net.head.macs", "8_192"),
    ("grey.params", "128"),  # 72 + 8, 16, 32
    ("net(channels=1, widths=[8, 7]).params", "152"),  # 9 * 8 + 8, 16, 8 * 7
    ("made.params", "272"),
    ("two.conv.receptive_field", "3"),
    ("two.macs", "63_488"),
    ("shared.convs", "3"),
    ("shared.weights", "248"),  # each tensor once
    ("shared.params", "272"),  # an unused norm has parameters, too
    ("shared.macs", "71_680"),  # 16*16 * (216 + 32 + 32)
    ("shared.skip_connections", "1"),  # a projection of what the other branch is made from
    ("up.receptive_field_stride", "0.5"),
    ("net.params / grey.params", "2.13x"),  # 272 / 128 = 2.125, a tie
]
MODULES = (
    "net: nets.py:Net; grey: nets.py:Net(channels=1); made: nets.py:made; "
    "two: nets.py:Two; shared: nets.py:Shared; up: nets.py:Up"
)


def test_by_hand(judged: Callable) -> None:
    """Totals of small modules, worked out by hand, with arguments, built or not, at an input of the file."""
    found = judged(MODULES, *HAND, more="input: 3 32 32")
    assert {verdict.claim.title: verdict.value for verdict in found if verdict.words != HOLDS} == {}


ERRORS = [
    ("net: nets.py:Net", "net.top1", "nobody has published top1 of"),
    ("net: nets.py:Two", "net.receptive_field", "gives 2 outputs, each with a field of its own"),
    ("net: nets.py:Two", "net.out_channels", "net has no one 'out_channels'"),
    ("net: nets.py:Fourier", "net.macs", "no rule counts the operation '_fft_"),
    ("net: nets.py:Fourier", "net.receptive_field", "has no receptive field that is known"),
    ("net: nets.py:Net", "net.norm2.params", "has no part 'norm2'"),
    ("net: nets.py:Net", "net.conv", "net.conv is a part, not a number"),
    ("net: nets.py:Net", "net.parms", "did you mean: params"),
    ("net: nets.py:Net", "net.conv.depth", "net.conv has no one 'depth'"),
    ("net: nets.py:made", "net(channels=3).params", "is a module, built already"),
    ("net: nets.py:Net(widths=3)", "net.params", "cannot be built: TypeError"),
    ("net: nets.py:Net(width=3)", "net.params", "cannot be called with width"),
    ("net: nets.py:torch", "net.params", "is a module"),
    ("net: nets.py:Missing", "net.params", "has no 'Missing'"),
    ("net: nets.py:Lazy", "net.params", "cannot be counted: ValueError"),
    ("net: nets.yaml:tiny", "net.params", "is no arch"),
    ("net: resnet18", "net.params", "is no module"),
    ("net: nets.py:Net(3)", "net.params", "is given 3 without a name"),
    ("net: nets.py:Net(channels=)", "net.params", "argument 'channels' has no value"),
]


@pytest.mark.parametrize(("modules", "expression", "message"), ERRORS)
def test_error(modules: str, expression: str, message: str, judged: Callable, tmp_path: Path) -> None:
    """What cannot be said of a module is, with the line that asks for it."""
    with pytest.raises(SpecError) as caught:
        judged(modules, (expression, "1"))
    assert message in str(caught.value)
    assert f"{tmp_path}/said.yaml:" in str(caught.value)


def test_error_does_not_run(judged: Callable) -> None:
    """An input that the module does not take."""
    with pytest.raises(SpecError, match=r"said.yaml:7:9: .*nets.py:Net does not run at 1 8 8"):
        judged("net: nets.py:Net", ("net.macs", "1"), more="input: 1 8 8")


def test_own_inputs(judged: Callable) -> None:
    """A module, and an arch, may have an input of their own."""
    module = ["    module: nets.py:Net(channels=1)", "    input: 1 16 16"]
    more = "\n".join([*module, "archs:", "  small:", "    arch: resnet18", "    input: 3 64 64"])
    found = judged("net: ", ("net.macs", "6656"), ("net.rows", "8"), ("small.layer1.rows", "16"), more=more)
    assert [verdict.words for verdict in found] == [HOLDS] * 3  # 8*8 * (9*8 + 32) = 6,656


def test_without_torch(judged: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim about a module is skipped where torch is missing: neither held nor failed."""

    def missing(module: str, extra: str = "torch") -> None:
        raise CannotRun(f"{module} is not installed")

    monkeypatch.setattr(named, "need", missing)
    (found,) = judged("net: nets.py:Net", ("net.params", "272"))
    assert (found.could_not_run, found.reason) == (True, "torch is not installed")
    assert found.finding("said").status == "skipped"


def test_whatever_goes_in(judged: Callable) -> None:
    """Words and a mask, by name; what the module tells of itself; a fully connected layer by hand: 7 words, 4 x 2."""
    ids = 'input: "ids: int64 7 < 50, mask: bool 7"'
    assert [one.words for one in judged("net: nets.py:Words", ("net.macs", "56"), more=ids)] == [HOLDS]
    assert [one.words for one in judged("net: nets.py:Words", ("net.macs", "57"), more=ids)] != [HOLDS]
    assert [one.words for one in judged("net: nets.py:Words", ("net.macs", "56"), more="input: int64 7")] == [HOLDS]
    with pytest.raises(SpecError, match="one image, as an arch takes"):
        judged("net: nets.py:Words", ("resnet18.macs", "1"), more=ids)
    (verdict,) = judged("net: nets.py:Net(channels=1)", ("net.conv.params", "80"))
    assert verdict.words == HOLDS
    (verdict,) = judged("net: nets.py:Net(channels=1)", ("net.conv.macs", str(8 * 9 * 112 * 112)))
    assert verdict.words == HOLDS  # its first convolution tells that an image has one channel
