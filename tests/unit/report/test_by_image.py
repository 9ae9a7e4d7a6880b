"""A count that depends on the values of the image says so, and one of a training step is of train mode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

import rv_check
from rv_check.cli.main import main
from rv_check.graphs.network import At
from rv_check.modules.record import data_at

MAPS = (3, 32, 32)


class Detector(nn.Module):
    """Boxes from a map; a head looks at those that are kept, and those of a high score are the answer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 5, 4, 4), nn.Linear(5, 7)
        self.factor = nn.Buffer(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, H, W) -> (boxes, 7)."""
        y = self.body(x).flatten(2).mT[0]
        boxes = torch.cat((y[:, :2], y[:, :2] + y[:, 2:4].exp()), 1)
        found: Tensor = self.head(y[torchvision.ops.nms(boxes, y[:, 4], 0.5)])
        if found.max() > 99:
            found = found * 2
        if self.factor > 2:  # which no image decides
            found = found * 3
        return found[found[:, 0] > -9]


def test_a_count_of_one_image() -> None:
    """It is that of the image that is made, and the places are those that it decides: boxes, a branch, a mask."""
    net = Detector().eval()
    boxes = len(net(data_at(At(MAPS, 1), None, torch.float32).main))
    found = rv_check.macs(net, MAPS)
    assert found.total == 3 * 16 * 5 * 64 + boxes * 5 * 7
    assert boxes < 64
    lines = [f"{place.document.path.name}:{place.line}" for place in found.by_image]
    code = Path(__file__).read_text(encoding="utf-8").splitlines()
    decided = ("if found.max()", "return found[found")
    here = [at for at, line in enumerate(code, 1) if line.lstrip().startswith(decided)]
    assert [line for line in lines if line.startswith("test_")] == [f"test_by_image.py:{at}" for at in here]
    assert [line.partition(":")[0] for line in lines if not line.startswith("test_")] == ["boxes.py"]
    assert "\ncounted for one image; 3 places depend on its values: " in str(found)
    kept = rv_check.memory(net, MAPS)
    assert kept.by_image == found.by_image
    assert "\ncounted for one image; 3 places depend on its values: " in str(kept)


@pytest.mark.parametrize(
    "option", ["", "--by=op", "--compare", "--convention=torch", "--memory", "--roofline 1e12 1e11"]
)
def test_every_table_says_so(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is asked, and once."""
    code = main(["macs", f"{__file__}:Detector", "--input", "3 32 32", *option.split()])
    assert code == 0
    assert capsys.readouterr().out.count("counted for one image; 3 places depend on its values: ") == 1


def test_json_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """The places, with both kinds of numbers."""
    main(["macs", f"{__file__}:Detector", "--input", "3 32 32", "--memory", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert len(found["by_image"]) == 3
    assert found["memory"]["by_image"] == found["by_image"]


def test_of_other_networks_nothing_is_said() -> None:
    """Neither where nothing is by value, nor where a value decides that is no image's."""

    class Flagged(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 8)
            self.flag = nn.Buffer(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if self.flag > 0 else x

    for net in (nn.Linear(8, 8), Flagged()):
        found = rv_check.macs(net, (8,))
        assert (found.total, found.by_image) == (64, ())
        assert "one image;" not in str(found)


class Auxiliary(nn.Module):
    """A second head in train mode, as GoogLeNet has two."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 8) -> (N, 4), and (N, 2) in train mode."""
        y = self.a(x)
        return (self.b(y), self.c(y)) if self.training else (self.b(y),)


def test_a_training_step_is_of_train_mode() -> None:
    """The forward pass that is counted is that of eval mode, a step has the second head, forward and backward."""
    found = rv_check.macs(Auxiliary(), (8,))
    heads = 8 * 4 + 8 * 2
    assert found.total == 64 + 8 * 4
    assert found.backward == 64 + 2 * heads
    assert f"a training step: {64 + heads + found.backward}" in str(found)
    assert str(found).endswith(f"in train mode the forward pass takes {64 + heads}")
    assert found.by() == {"a": 64, "b": 32}


def test_auxiliary_heads_by_hand() -> None:
    """GoogLeNet's in train mode: each a pool to 4x4, a convolution to 128 maps, 1024 numbers, 1000 classes."""
    net = torchvision.models.googlenet(init_weights=False, aux_logits=True)
    found = rv_check.macs(net, (3, 224, 224))
    heads = sum(16 * maps * 128 + 2048 * 1024 + 1024 * 1000 for maps in (512, 528))
    assert sum(one.macs for one in found.training.whole) - found.total == heads


def test_a_network_that_does_not_train_says_so() -> None:
    """What asks for targets in train mode is counted as it is in eval mode, and that is said."""

    class Asks(Auxiliary):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            assert not self.training, "targets should not be none"
            return super().forward(x)

    found = rv_check.macs(Asks(), (8,))
    assert (found.total, found.backward) == (96, 64 + 2 * 32)
    assert (
        "that is of eval mode: the module does not run at 8 in train mode: AssertionError: targets should not be none"
        in str(found)
    )


def test_what_chance_leaves_out_is_counted() -> None:
    """Dropout changes no count; a detached head in train mode gets no gradient from behind it."""

    class Detached(Auxiliary):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            y = self.a(x)
            return self.b(nn.functional.dropout(y, 0.5, self.training)), self.c(y.detach())

    found = rv_check.macs(Detached(), (8,))
    assert found.total == 64 + 32 + 16
    assert found.backward == 64 + 2 * 32 + 16  # no gradient goes back through the third
