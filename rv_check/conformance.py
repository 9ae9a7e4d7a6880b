"""Any module against a spec, for a module whose parameters have the reference's names."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING

from rv_check.arch import Arch, load
from rv_check.checks import CHECKS, Judge, Pair, Run, guarded, hold_states, shapes_of
from rv_check.findings import CannotRun, Report
from rv_check.problems import RvCheckError
from rv_check.reference import need, need_device

if TYPE_CHECKING:
    from torch import nn

OTHER_NAMES = (
    "its parameters have other names than the reference's, and the same shapes; matching them needs the structure "
    "level, which this version does not have"
)
OF_A_MODULE = ("state_dict", "logits", "eval", "train")


class ModuleRun(Run):
    """What the checks of a module share: a copy of it, and the model of the spec that it should be."""

    parts_decide = False  # a network may be cut into other parts; where they differ only says where to look

    def __init__(self, module: nn.Module, arch: Arch, device: str):
        super().__init__(arch, device)
        self.module = module

    def make_pair(self) -> Pair:
        """The spec's model and a copy of the module, which is not touched. What is frozen in it is free in the copy."""
        from torch.nn.parameter import is_lazy

        from rv_check.model import build

        for name, tensor in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if is_lazy(tensor) or tensor.is_meta:
                raise RvCheckError(f"{name} of the module has no values: it is lazy or on the meta device")

        def copied() -> nn.Module:
            found = copy.deepcopy(self.module)
            for parameter in found.parameters():
                parameter.requires_grad_(parameter.is_floating_point())
            return found.to(self.device)

        found = guarded("the module cannot be copied", copied)
        expected = guarded("the model does not build from its spec", lambda: build(self.arch).to(self.device))
        return Pair(expected, found, ("the model of the spec", "the module"))

    def hold_states(self, pair: Pair) -> None:
        expected, found = shapes_of(pair.expected), shapes_of(pair.found)
        if expected.keys() != found.keys() and Counter(expected.values()) == Counter(found.values()):
            raise CannotRun(OTHER_NAMES)
        hold_states(pair.expected, pair.found, in_order=False)


def check(
    module: nn.Module, arch: Arch | str, device: str = "cpu", *, judge: Judge | None = None, name: str = ""
) -> Report:
    """Whether a module is the network of a spec: its state, then its numbers in eval and train mode.

    The module itself is not touched: the comparison runs on copies.

    Args: `module` any nn.Module that takes (N, C, H, W); `arch` an Arch or a name that `load` takes; `device` where
    both run, as torch names it; `name` what the report calls the module, its class unless given.
    Returns: a Report; `passed` only if every check ran and held.
    Raises: RvCheckError where the arch or the device is none, or `module` is no module.
    """
    torch = need("torch")
    if isinstance(arch, str):
        arch = load(arch)
    _ = arch.tree  # a bad spec is a wrong question
    if not isinstance(module, torch.nn.Module):
        what = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise RvCheckError(f"{what} is not a module, expected an instance of torch.nn.Module")
    need_device(device)
    run = ModuleRun(module, arch, device)
    checks = [one for one in CHECKS if one.name in OF_A_MODULE]
    findings = (judge or Judge()).findings(run, checks)
    return Report(name or type(module).__name__, arch.name, findings)


def assert_conforms(module: nn.Module, arch: Arch | str, device: str = "cpu") -> None:
    """`check`, for a test. Raises: AssertionError, with the findings, unless every check ran and held."""
    __tracebackhide__ = True  # pytest then shows the line of the test
    report = check(module, arch, device)
    if not report.passed:
        raise AssertionError(str(report))
