"""The checks: each a small function from one arch to findings, in a row of CHECKS.

To add one, write it in the module of its level and add a row here. A check names its level, says for which archs it
makes a claim at all, and of what it may be asked besides an arch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rv_check.archs.arch import Arch
from rv_check.checks.check import Asked, Check
from rv_check.checks.counters import counters
from rv_check.checks.field import field
from rv_check.checks.findings import LEVELS, Level, Report, up_to
from rv_check.checks.judge import Judge
from rv_check.checks.numbers_level import evaluation, init, logits, own_weights, state_dict, training
from rv_check.checks.of_arch import ArchRun
from rv_check.checks.published import published
from rv_check.checks.spec_level import contract, metadata, shapes
from rv_check.checks.structure_level import structure, trainable
from rv_check.modules.reference import applies, metadata_source


def _has(*metrics: str) -> Callable[[Arch], bool]:
    return lambda arch: arch.is_declared and any(entry.metric in metrics for entry in arch.entry.published)


def _has_metadata(arch: Arch) -> bool:
    return arch.is_declared and any(metadata_source(entry.source) for entry in arch.entry.published)


def _has_reference(arch: Arch) -> bool:
    return arch.entry.reference is not None and applies(arch) is None


MODULES: tuple[Asked, ...] = ("module", "fresh module")
ANY: tuple[Asked, ...] = ("arch", *MODULES, "two")

CHECKS: tuple[Check, ...] = (
    Check("shapes", "spec", lambda arch: True, shapes),
    Check("contract", "spec", lambda arch: arch.is_declared and bool(arch.entry.contract), contract),
    Check("params", "spec", _has("params", "mparams"), published(("params", "mparams"))),
    Check("macs", "spec", _has("macs", "mmacs", "gmacs"), published(("macs", "mmacs", "gmacs"))),
    Check("activations", "spec", _has("mactivations"), published(("mactivations",))),
    Check("depth", "spec", _has("depth"), published(("depth",))),
    Check("receptive_field", "spec", _has("receptive_field"), published(("receptive_field",))),
    Check("metadata", "spec", _has_metadata, metadata),
    Check("structure", "structure", _has_reference, structure, ANY),
    Check("trainable", "structure", _has_reference, trainable, ANY),
    Check("state_dict", "numbers", _has_reference, state_dict, ("arch", *MODULES)),
    Check("init", "numbers", _has_reference, init, ("arch", "fresh module")),
    Check("logits", "numbers", _has_reference, logits, ANY),
    Check("eval", "numbers", _has_reference, evaluation, ANY),
    Check("train", "numbers", _has_reference, training, ANY),
    Check("own_weights", "numbers", lambda arch: False, own_weights, ("two as they are",)),
    Check("counters", "numbers", lambda arch: True, counters),
    Check("field", "numbers", lambda arch: len(arch.input) == 3, field),
)


def checks_of(arch: Arch, levels: Iterable[Level] = LEVELS) -> list[Check]:
    """The checks that make a claim about an arch, cheapest first."""
    wanted = set(levels)
    return [check for check in CHECKS if check.level in wanted and "arch" in check.of and check.applies(arch)]


def checks_asked(of: Asked, level: Level | None = None) -> list[Check]:
    """The checks that are made of a module or of two, cheapest first, up to a level."""
    return [check for check in CHECKS if of in check.of and check.level in up_to(level)]


def check_arch(arch: Arch, levels: Iterable[Level] = LEVELS, device: str = "cpu", judge: Judge | None = None) -> Report:
    """A spec against its reference and what is published."""
    levels = tuple(levels)
    findings = (judge or Judge()).findings(ArchRun(arch, device), checks_of(arch, levels), checks_of(arch))
    compared = _has_reference(arch) and {"structure", "numbers"} & set(levels)
    reference = arch.entry.reference if compared else None
    return Report(arch.name, reference.name if reference else None, findings)
