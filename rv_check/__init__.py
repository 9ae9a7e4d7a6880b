"""rv_check: is this network the network it claims to be?

    from rv_check import load, build, check, assert_conforms

What needs torch is imported when it is asked for, so that `import rv_check` is as cheap as the static part.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rv_check.analyses import ReceptiveField as ReceptiveField
    from rv_check.arch import Arch as Arch
    from rv_check.arch import load as load
    from rv_check.conformance import assert_conforms as assert_conforms
    from rv_check.conformance import check as check
    from rv_check.findings import Finding as Finding
    from rv_check.findings import Report as Report
    from rv_check.model import build as build
    from rv_check.problems import RvCheckError as RvCheckError
    from rv_check.problems import SpecError as SpecError

_HOME = {
    "Arch": "arch",
    "Finding": "findings",
    "ReceptiveField": "analyses",
    "Report": "findings",
    "RvCheckError": "problems",
    "SpecError": "problems",
    "assert_conforms": "conformance",
    "build": "model",
    "check": "conformance",
    "load": "arch",
}
__all__ = list(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rv_check' has no attribute {name!r}")
    return getattr(import_module(f"rv_check.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
