"""What other counters of multiply-adds and FLOPs say a network costs: the exact total of each, as it runs here.

Each is called the way its documentation calls it, on one image, in eval, with gradients on unless it turns them off
itself: in eval without gradients `nn.MultiheadAttention` takes a fused path that most of them count as nothing. In
train only fvcore would differ (norms); the others but torch and torchprofile count in eval whatever the mode. On a
CPU: the fused attention of a GPU is another op, which some count. `python -m tests.parity.tools` writes
`tool_totals.json`.

thop and ultralytics-thop both install a package `thop`, so one of them must lie in a folder of its own
(`pip install --no-deps --target FOLDER ultralytics-thop`), named in `RV_CHECK_TOOLS` (folders as in `PYTHONPATH`).
"""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import importlib.metadata
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

TOTALS = Path(__file__).with_name("tool_totals.json")
Count = Callable[[nn.Module, torch.Tensor], int | float]


@dataclass(frozen=True)
class Tool:
    """A counter in one configuration: what it is called, the distribution it comes from, and how to ask it."""

    name: str
    package: str
    counts: str  # "MACs": one for a multiply-add; "FLOPs": two
    ask: Count

    def total(self, module: nn.Module, x_shape: tuple[int, ...]) -> int:
        """The exact total for one image of (C, H, W), of a copy of the module in eval.

        Raises: ModuleNotFoundError where the tool is missing; RuntimeError where it fails on this network.
        """
        model = copy.deepcopy(module).eval()
        first = next(model.parameters(), torch.empty(0))
        x = torch.zeros((1, *x_shape), dtype=first.dtype, device=first.device)
        with _quiet(), _functions_restored(), torch.enable_grad():
            total = self.ask(model, x)
        if total != int(total):
            raise RuntimeError(f"{self.name} counts a fraction: {total}")
        return int(total)

    def version(self) -> str:
        """The version of the distribution that `total` would use. Raises: ModuleNotFoundError where it is missing."""
        return str(_distribution(self.package).version)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No printing, no warnings, no log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def _functions_restored() -> Iterator[None]:
    """Puts back what a tool replaced in torch: some leave it replaced where the network raises."""
    owners: tuple[Any, ...] = (torch, torch.Tensor, nn.functional)
    before = [dict(vars(owner)) for owner in owners]
    try:
        yield
    finally:
        for owner, old in zip(owners, before, strict=True):
            for name, value in dict(vars(owner)).items():
                if name in old:
                    if value is not old[name]:
                        setattr(owner, name, old[name])
                elif owner is torch.Tensor:  # inherited before; a module's new name is a submodule just imported
                    delattr(owner, name)


def _folders() -> list[str]:
    """Where distributions are looked for: the folders of `RV_CHECK_TOOLS` after `sys.path`."""
    return [*sys.path, *filter(None, os.environ.get("RV_CHECK_TOOLS", "").split(os.pathsep))]


def _distribution(package: str) -> importlib.metadata.Distribution:
    found = next(iter(importlib.metadata.distributions(name=package, path=_folders())), None)
    if found is None:
        raise ModuleNotFoundError(f"No distribution named {package!r}", name=package)
    return found


_thops: dict[str, ModuleType] = {}


def _thop(package: str) -> ModuleType:
    """The package `thop` of one of the two distributions that have one, beside that of the other."""
    distribution = _distribution(package)
    folder = str(distribution.locate_file(""))
    if package not in _thops:
        held = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "thop"}
        sys.path.insert(0, folder)
        try:
            module = importlib.import_module("thop")
        finally:
            sys.path.remove(folder)
            for name in [name for name in sys.modules if name.split(".")[0] == "thop"]:
                del sys.modules[name]
            sys.modules.update(held)
        if not distribution.version.startswith(str(module.__version__)):  # one installed over the other
            raise ModuleNotFoundError(f"{folder} holds the thop of another distribution than {package}", name=package)
        _thops[package] = module
    return _thops[package]


def _torch(model: nn.Module, x: torch.Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(x)
    return int(counter.get_total_flops())


def _fvcore(model: nn.Module, x: torch.Tensor) -> int | float:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, (x,)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return analysis.tracer_warnings("none").total()  # type: ignore[no-any-return]


def _torchinfo(model: nn.Module, x: torch.Tensor) -> int:
    from torchinfo import summary

    return int(summary(model, input_data=x, mode="eval", verbose=0).total_mult_adds)


def _ptflops(**options: Any) -> Count:
    def ask(model: nn.Module, x: torch.Tensor) -> int:
        from ptflops import get_model_complexity_info

        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            total, _ = get_model_complexity_info(
                model, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, **options
            )
        if total is None:  # it prints the error instead of raising it
            raise RuntimeError(told.getvalue())
        return int(total)

    return ask


def _profile(package: str) -> Count:
    def ask(model: nn.Module, x: torch.Tensor) -> float:
        return float(_thop(package).profile(model, inputs=(x,), verbose=False)[0])

    return ask


def _calflops(which: int) -> Count:
    def ask(model: nn.Module, x: torch.Tensor) -> int | float:
        from calflops import calculate_flops

        counts = calculate_flops(model, input_shape=tuple(x.shape), print_results=False, output_as_string=False)
        return counts[which]  # type: ignore[no-any-return]

    return ask


def _deepspeed(which: int) -> Count:
    def ask(model: nn.Module, x: torch.Tensor) -> int | float:
        from deepspeed.profiling.flops_profiler import get_model_profile

        counts = get_model_profile(model, tuple(x.shape), print_profile=False, warm_up=0, as_string=False)
        return counts[which]  # type: ignore[no-any-return]

    return ask


def _torchprofile(model: nn.Module, x: torch.Tensor) -> int:
    from torchprofile import profile_macs

    total = profile_macs(model, x)
    assert isinstance(total, int)
    return total


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("torch", "torch", "FLOPs", _torch),
        Tool("fvcore", "fvcore", "MACs", _fvcore),
        Tool("torchinfo", "torchinfo", "MACs", _torchinfo),
        Tool("ptflops", "ptflops", "MACs", _ptflops()),
        Tool(
            "ptflops-modules",
            "ptflops",
            "MACs",
            _ptflops(backend_specific_config={"count_functional": False}),
        ),
        Tool("ptflops-aten", "ptflops", "MACs", _ptflops(backend="aten")),
        Tool("thop", "thop", "MACs", _profile("thop")),
        Tool("ultralytics-thop", "ultralytics-thop", "MACs", _profile("ultralytics-thop")),
        Tool("calflops", "calflops", "MACs", _calflops(1)),
        Tool("calflops-FLOPs", "calflops", "FLOPs", _calflops(0)),
        Tool("DeepSpeed", "deepspeed", "MACs", _deepspeed(1)),
        Tool("DeepSpeed-FLOPs", "deepspeed", "FLOPs", _deepspeed(0)),
        Tool("torchprofile", "torchprofile", "MACs", _torchprofile),
    )
}


def models() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, ...]]]:
    """The networks of `tool_totals.json`: name, how to build it, its input (C, H, W)."""
    import torchvision

    from rv_check import build
    from rv_check.archs.load import archs

    for arch in archs():
        yield arch.name, lambda arch=arch: build(arch), arch.input  # type: ignore[misc]
    for name in ("densenet121", "mobilenet_v2", "efficientnet_b0", "vit_b_16"):
        yield f"torchvision {name}", getattr(torchvision.models, name), (3, 224, 224)
    yield (
        "torchvision googlenet",
        lambda: torchvision.models.googlenet(init_weights=False, aux_logits=False),
        (3, 224, 224),
    )


def record() -> dict[str, Any]:
    """Every tool on every network: {"versions": {package: version}, "totals": {tool: {network: total}}}."""
    versions = {tool.package: tool.version() for tool in TOOLS.values()}
    versions["torchvision"] = _distribution("torchvision").version
    totals: dict[str, dict[str, int]] = {name: {} for name in TOOLS}
    for network, make, x_shape in models():
        module = make()
        for name, tool in TOOLS.items():
            totals[name][network] = tool.total(module, x_shape)
            gc.collect()
        del module
    return {"versions": versions, "totals": totals}


if __name__ == "__main__":
    TOTALS.write_text(json.dumps(record(), indent=1) + "\n")
