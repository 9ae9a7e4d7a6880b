"""The flat listing of every shipped arch, kept so that a change in a shared block shows in review.

A snapshot is no evidence: it holds the code against itself. That is in the specs' contracts and published numbers.
"""

from pathlib import Path

import pytest

from rv_check import load
from rv_check.archs.load import archs
from rv_check.report.layers import show_text

SNAPSHOTS = Path(__file__).parent / "snapshots"
NAMES = [arch.name for arch in archs()]


@pytest.mark.parametrize("name", NAMES)
def test_listing(name: str, hold_snapshot) -> None:
    """`rv-check show ARCH` prints what it printed when the snapshot was last accepted."""
    hold_snapshot(SNAPSHOTS / f"{name}.txt", show_text(load(name)) + "\n")


def test_no_stray_snapshot() -> None:
    """Every snapshot belongs to an arch."""
    assert sorted(NAMES) == sorted(path.stem for path in SNAPSHOTS.iterdir())


def test_a_changed_block_changes_the_listing(tmp_path: Path) -> None:
    """The listing sees a kernel, a name and a residual branch change."""
    from rv_check.language.files import shipped_folder

    text = (shipped_folder() / "blocks" / "basic.yaml").read_text()
    family = (shipped_folder() / "resnet.yaml").read_text()
    (tmp_path / "resnet.yaml").write_text(family)
    for old, new in (("conv2: conv(width, kernel=3, padding=1", "conv2: conv(width, kernel=5, padding=2"),
                     ("bn2: batchnorm", "norm2: batchnorm"),
                     ("else: identity", "else:\n          - relu")):  # fmt: skip
        (tmp_path / "basic.yaml").write_text(text.replace(old, new))
        changed = load(f"{tmp_path}/resnet.yaml::resnet18")
        assert show_text(changed) != show_text(load("resnet18")), old
        (tmp_path / "basic.yaml").unlink()
