"""Fixtures of the tests of rv_check itself."""

from pathlib import Path

import pytest

from rv_check.modules import reference
from tests.unit.tiny import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A folder with the small network's spec, and a provider of its reference in torchvision's place."""
    made = World(tmp_path)
    monkeypatch.setitem(reference.PROVIDERS, "torchvision.models", made)
    return made
