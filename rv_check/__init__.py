"""rv_check: is this network the network it claims to be?

    from rv_check import load, build, check, assert_conforms, assert_same, macs

What needs torch is imported when it is asked for, so that `import rv_check` is as cheap as the static part.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rv_check.archs.arch import Arch
    from rv_check.archs.load import load
    from rv_check.archs.receptive_field import ReceptiveField
    from rv_check.blocks.check import check_block
    from rv_check.checks.findings import Finding, Report
    from rv_check.checks.of_module import assert_conforms, check
    from rv_check.checks.of_two import assert_same
    from rv_check.costs.counted import Uncounted
    from rv_check.costs.memory import Memory
    from rv_check.errors import RvCheckError, SpecError
    from rv_check.modules.build import build
    from rv_check.receptive_fields.formula import FieldLine
    from rv_check.report.costs import NetworkMacs, NetworkMemory, macs, memory
    from rv_check.report.fields import NetworkFields, receptive_field
    from rv_check.weights.finetune import check_transfer

__all__ = [
    "Arch",
    "FieldLine",
    "Finding",
    "Memory",
    "NetworkFields",
    "NetworkMacs",
    "NetworkMemory",
    "ReceptiveField",
    "Report",
    "RvCheckError",
    "SpecError",
    "Uncounted",
    "assert_conforms",
    "assert_same",
    "build",
    "check",
    "check_block",
    "check_transfer",
    "load",
    "macs",
    "memory",
    "receptive_field",
]

_HOME = {
    "Arch": "archs.arch",
    "FieldLine": "receptive_fields.formula",
    "Finding": "checks.findings",
    "Memory": "costs.memory",
    "NetworkFields": "report.fields",
    "NetworkMacs": "report.costs",
    "NetworkMemory": "report.costs",
    "ReceptiveField": "archs.receptive_field",
    "Report": "checks.findings",
    "RvCheckError": "errors",
    "SpecError": "errors",
    "Uncounted": "costs.counted",
    "assert_conforms": "checks.of_module",
    "assert_same": "checks.of_two",
    "build": "modules.build",
    "check": "checks.of_module",
    "check_block": "blocks.check",
    "check_transfer": "weights.finetune",
    "load": "archs.load",
    "macs": "report.costs",
    "memory": "report.costs",
    "receptive_field": "report.fields",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rv_check' has no attribute {name!r}")
    return getattr(import_module(f"rv_check.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
