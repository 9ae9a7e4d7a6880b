"""The torch model of a tree: an ordinary `nn.Module` whose `state_dict` has the names of the spec, in its order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.archs.tree import Join, Layer, Module, Seq, Visit, walk
from rv_check.errors import RvCheckError
from rv_check.language.definitions import InitRule, init_rule
from rv_check.modules.initial import fans_of
from rv_check.text import quote

# A plan is what `forward` follows: the name of a child to call, or a join of plans.
ModulePlan = tuple["str | _JoinPlan", ...]


class _JoinPlan:
    """A join within a plan. `accumulate`: the first branch's output is its own, so that a sum may be made in it."""

    __slots__ = ("accumulate", "branches", "kind")

    def __init__(self, kind: str, branches: tuple[ModulePlan, ...], accumulate: bool):
        self.kind, self.branches, self.accumulate = kind, branches, accumulate


class SpecModule(nn.Module):
    """A module of a spec: children by name, called in the order of the flow.

    Shapes: (N, *x) -> (N, *y), as the tree states them.
    """

    def __init__(self, label: str, plan: ModulePlan, modules: Mapping[str, nn.Module]):
        super().__init__()
        self._label = label  # not `label` and `plan`, which a spec may well call a step
        self._plan = plan
        for name, module in modules.items():
            if name in self.__dict__:
                raise RvCheckError(f"{label or 'a group'}: a torch module cannot have a child named {quote(name)}")
            # Not add_module(), which refuses names that nn.Module has for something else, such as `type`.
            self._modules[name] = module

    def forward(self, x: Tensor) -> Tensor:
        return self._follow(self._plan, x)

    def _follow(self, plan: ModulePlan, x: Tensor) -> Tensor:
        modules = self._modules
        for step in plan:
            x = modules[step](x) if isinstance(step, str) else self._join(step, x)  # type: ignore[misc]
        return x

    def _join(self, join: _JoinPlan, x: Tensor) -> Tensor:
        outputs = [self._follow(branch, x) for branch in join.branches]
        if join.kind == "concat":
            return torch.cat(outputs, 1)
        result, *others = outputs
        for other in others:
            if join.kind == "product":
                result = result * other
            elif join.accumulate:
                result = result.add_(other)
            else:
                result = result + other
        return result

    def _get_name(self) -> str:
        return self._label or "group"

    def extra_repr(self) -> str:
        return "\n".join(_flow(step) for step in self._plan if not isinstance(step, str))


def _flow(step: str | _JoinPlan) -> str:
    if isinstance(step, str):
        return step
    branches = [" -> ".join(map(_flow, branch)) or "identity" for branch in step.branches]
    return f"{step.kind}({', '.join(branches)})"


class _Layers:
    """What ops are built from: the layers of torch.nn, and one that only torchvision has."""

    def __getattr__(self, name: str) -> Any:
        return getattr(nn, name)

    @property
    def StochasticDepth(self) -> Any:
        from torchvision.ops import StochasticDepth

        return StochasticDepth


LAYERS = _Layers()


def build(arch: Arch | str, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> SpecModule:
    """The model of an arch, freshly initialised as the spec's `init:` says; the reference is never imported.

    Args: `arch` an Arch or a name that `load` takes; `device` also "meta", where nothing is computed; `dtype` of the
    parameters, torch's default unless given. Input of the model: (N, C, H, W).
    Raises: RvCheckError where the arch cannot be loaded or expanded, or where torch cannot hold it.
    """
    if isinstance(arch, str):
        arch = load(arch)
    root = arch.tree.root.seq
    try:
        with torch.device(device or torch.get_default_device()):
            model = _module(arch.name, root)
            initialise(model, arch.family.init)
        return model.to(dtype) if dtype is not None else model
    except (RuntimeError, ValueError) as error:  # too large, no such device, an `init:` that does not fit
        raise RvCheckError(f"{arch.name} cannot be built: {error}") from error


def cut(model: SpecModule, until: str) -> SpecModule:
    """The model up to a step, whose output becomes its own. Raises: RvCheckError for a step within a join."""
    first, _, rest = until.partition(".")
    if first not in model._plan:
        raise RvCheckError(
            f"{quote(until)} is within a join, or is one", expected="a step that everything goes through"
        )
    model._plan = model._plan[: model._plan.index(first) + 1]
    for name in list(model._modules):
        if name not in _children(model._plan):
            del model._modules[name]
    if rest:
        inner = model._modules[first]
        assert isinstance(inner, SpecModule), "the expected graph has this step"
        cut(inner, rest)
    return model


def _children(plan: ModulePlan) -> set[str]:
    names: set[str] = set()
    for step in plan:
        names |= {step} if isinstance(step, str) else set().union(*map(_children, step.branches))
    return names


def _module(label: str, seq: Seq) -> SpecModule:
    modules: dict[str, nn.Module] = {}
    plan, _ = _plan(walk(seq), modules)
    return SpecModule(label, plan, modules)


def _plan(visits: Iterable[Visit], modules: dict[str, nn.Module], fresh: bool = False) -> tuple[ModulePlan, bool]:
    """The plan of a sequence, its modules added to `modules` on the way, and whether its output is fresh.

    `fresh`: nobody else reads the input and no gradient needs it, so that an activation may overwrite it, as the
    reference's in-place relus do.
    """
    plan: list[str | _JoinPlan] = []
    for visit in visits:
        node, name = visit.node, visit.name
        match node:
            case Layer():
                modules[name] = node.op.build(LAYERS, node.x, fresh)
                plan.append(name)
                fresh = node.op.writes_fresh
            case Module():
                modules[name] = _module(node.label, node.seq)
                plan.append(name)
                fresh = False
            case Join():
                branches = [_plan(branch, modules) for _, branch in visit.branches]
                first, fresh = branches[0]
                if len(branches) == 1:
                    plan += first
                else:
                    accumulate = node.kind == "sum" and fresh
                    plan.append(_JoinPlan(node.kind, tuple(branch for branch, _ in branches), accumulate))
                    fresh = True
    return tuple(plan), fresh


def initialise(model: nn.Module, rules: tuple[InitRule, ...]) -> None:
    """Start the parameters as `init:` says, in the order of `model.modules()`, as torchvision's constructors do."""
    for name, module in model.named_modules():
        op = _OP_OF.get(type(module))
        rule = init_rule(rules, name, op) if op is not None else None
        if rule is not None:
            weight = getattr(module, "weight", None)
            _METHODS[rule.method](module, **rule.numbers(fans_of(weight.shape) if weight is not None else {}))


_OP_OF: dict[type, str] = {
    nn.Conv2d: "conv",
    nn.ConvTranspose2d: "conv_transpose",
    nn.Linear: "linear",
    nn.BatchNorm2d: "batchnorm",
    nn.BatchNorm1d: "batchnorm",
    nn.GroupNorm: "groupnorm",
}


def _constant(module: Any, weight: float, bias: float) -> None:
    nn.init.constant_(module.weight, weight)
    if module.bias is not None:
        nn.init.constant_(module.bias, bias)


def _normal(module: Any, mean: float, std: float, bias: float | None = None) -> None:
    nn.init.normal_(module.weight, mean, std)
    _bias(module, bias)


def _default(module: Any, bias: float | None = None) -> None:
    _bias(module, bias)


def _uniform(module: Any, bound: float, bias: float | None = None) -> None:
    nn.init.uniform_(module.weight, -bound, bound)
    _bias(module, bias)


def _kaiming_normal(module: Any, mode: Any, nonlinearity: Any, bias: float | None = None) -> None:
    nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity=nonlinearity)
    _bias(module, bias)


def _kaiming_uniform(module: Any, mode: Any, nonlinearity: Any, bias: float | None = None) -> None:
    nn.init.kaiming_uniform_(module.weight, mode=mode, nonlinearity=nonlinearity)
    _bias(module, bias)


def _bias(module: Any, value: float | None) -> None:
    if value is not None and module.bias is not None:
        nn.init.constant_(module.bias, value)


_METHODS: dict[str, Any] = {
    "default": _default,
    "constant": _constant,
    "normal": _normal,
    "uniform": _uniform,
    "kaiming_normal": _kaiming_normal,
    "kaiming_uniform": _kaiming_uniform,
}
