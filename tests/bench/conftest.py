"""`pytest tests/bench --benchmark-only --rv-baseline FILE` holds each case against what `rv-check bench` wrote."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--rv-baseline", metavar="FILE", help="a result of `rv-check bench -o FILE` on this device")
