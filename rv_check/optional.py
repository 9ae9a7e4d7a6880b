"""What may not be installed, or not be there: packages that an extra brings, and devices."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rv_check.errors import CannotRun
from rv_check.text import first_line, quote


def need(module: str, extra: str = "torch") -> Any:
    """Import an optional package, which an extra of ours brings. Raises: CannotRun."""
    try:
        return import_module(module)
    except ImportError as error:
        raise CannotRun(f"{module} cannot be imported ({error}); pip install 'rv-check[{extra}]' brings it") from None


def need_device(device: str) -> None:
    """See that torch can compute there, in float64. Raises: CannotRun."""
    torch = need("torch")
    try:
        torch.ones(1, dtype=torch.float64, device=device).cpu()
    except Exception as error:
        reason = first_line(error).partition(". ")[0]
        raise CannotRun(f"device {quote(device)} cannot be used here: {reason}") from None
