"""`pytest --update-snapshots` rewrites the generated parts of the repository; without it they are only compared."""

import gc
from pathlib import Path

import pytest


def pytest_collection_finish() -> None:
    """Have the garbage collector look no more at what is imported: torch alone makes a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def hold_snapshot(request: pytest.FixtureRequest):
    """Compare a file with what it should be, or rewrite it with --update-snapshots."""

    def hold(path: Path, text: str) -> None:
        if request.config.getoption("--update-snapshots"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path.name} is missing: pytest {request.node.nodeid} --update-snapshots writes it"
        assert text == path.read_text(encoding="utf-8")

    return hold
