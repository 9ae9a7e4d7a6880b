"""rv_check: is this network the network it claims to be?

    from rv_check import load, build, check, assert_conforms, assert_same

What needs torch is imported when it is asked for, so that `import rv_check` is as cheap as the static part.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rv_check.analyses import ReceptiveField
    from rv_check.arch import Arch, load
    from rv_check.blocks import check_block
    from rv_check.conformance import assert_conforms, assert_same, check
    from rv_check.errors import RvCheckError, SpecError
    from rv_check.findings import Finding, Report
    from rv_check.finetune import check_transfer
    from rv_check.model import build

__all__ = [
    "Arch",
    "Finding",
    "ReceptiveField",
    "Report",
    "RvCheckError",
    "SpecError",
    "assert_conforms",
    "assert_same",
    "build",
    "check",
    "check_block",
    "check_transfer",
    "load",
]

_HOME = {
    "Arch": "arch",
    "Finding": "findings",
    "ReceptiveField": "analyses",
    "Report": "findings",
    "RvCheckError": "errors",
    "SpecError": "errors",
    "assert_conforms": "conformance",
    "assert_same": "conformance",
    "build": "model",
    "check": "conformance",
    "check_block": "blocks",
    "check_transfer": "finetune",
    "load": "arch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rv_check' has no attribute {name!r}")
    return getattr(import_module(f"rv_check.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
