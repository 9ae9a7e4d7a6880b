"""Transfer learning, checked on a module: what trains after a real step, what does not, and what it began with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.checks.findings import Finding, Report
from rv_check.errors import RvCheckError
from rv_check.modules.build import build
from rv_check.modules.copies import Borrowed, copy_of, unwrapped
from rv_check.modules.generic_point import CHANCE, generic_point, image
from rv_check.modules.guard import run_theirs
from rv_check.modules.record import tensors_of
from rv_check.modules.torch_state import seeded, steady
from rv_check.ops.op import Shape
from rv_check.text import listed, quote
from rv_check.weights.checkpoints import account, load_into, names_of, weights_of
from rv_check.weights.transfer import TransferPlan, is_under, see_parts

BATCH = 4
SMALLEST = 1e-5  # a share of the largest gradient: one below it is 0 but for rounding, as of a bias before a norm
SHOWN = 5


def check_transfer(
    model: nn.Module,
    freeze: Sequence[str] = (),
    head: str | None = None,
    classes: int | None = None,
    *,
    weights: Mapping[str, Tensor] | nn.Module | None = None,
    names: Mapping[str, str] | None = None,
    statistics_frozen: bool = False,
    train: Callable[[nn.Module], Any] | None = None,
    optimiser: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    input: Shape = (3, 224, 224),
    name: str = "",
) -> Report:
    """Whether a fine-tuning set-up is what it is said to be. A copy is trained for one step; the model stays as it is.

    Args: `freeze` the parts that must not train, by name or pattern, as `layer1` or `*.bn1`: all other parameters must;
    `head` the part that is new; `classes` how many outputs there are; `weights` what the rest must be equal to, a
    state_dict or a module; `names` what these call the model's tensors, where that is not equal; `statistics_frozen`
    whether the running statistics of frozen parts must stay; `train` puts the model in the mode in which you train it,
    `model.train()` unless given; `optimiser` makes yours from the model, SGD on all that requires a gradient unless
    given; `input` the shape of one image, without the batch axis.
    Returns: a Report with the checks frozen, trains, statistics, head, backbone.
    Raises: RvCheckError where there is no such part, or the model does not run or train.
    """
    if not isinstance(model, nn.Module):
        raise RvCheckError(f"a {type(model).__name__} is not a module, expected an instance of torch.nn.Module")
    model = unwrapped(model)
    name = name or type(model).__name__
    parameters = [one for one, _ in model.named_parameters()]
    see_parts(freeze, parameters)
    if head is not None and not any(is_under(one, (head,)) for one in parameters):
        known = listed(dict.fromkeys(one.partition(".")[0] for one in parameters))
        raise RvCheckError(f"there is no head {quote(head)}", expected=known)
    given = weights.state_dict() if isinstance(weights, nn.Module) else weights
    with steady(), ExitStack() as lent:
        copy = _copy(model, lent)
        findings = list(_flags(copy, freeze, name))
        step = run_theirs(
            f"{name} cannot be trained for a step", lambda: _TriedStep(copy, input, train or nn.Module.train, optimiser)
        )
    findings += _trained(step, freeze, name)
    findings += _statistics(step, freeze, name, statistics_frozen)
    findings += _new_head(model, step, head, classes, given, names, name)
    if given is not None:
        findings.append(_backbone(model, head, given, names, name))
    return Report(name, "the transfer that is declared", tuple(findings))


def check_plan(plan: TransferPlan, weights: str | None = None, names: str | None = None) -> Report:
    """The plan of an arch, on the module that its spec builds. Raises: RvCheckError, CannotRun."""
    with steady(), seeded(0):
        model = build(plan.arch)
    given = None
    called = names_of(names, plan.before) if names else None
    if weights is not None:
        given = weights_of(plan.before.entry.name, weights)
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        load_into(model, account(shapes, given, called).without(plan.head))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in plan.frozen)
    sides = min(64, *plan.arch.input[1:]) if len(plan.arch.input) == 3 else 0
    x = (plan.arch.input[0], sides, sides) if sides else plan.arch.input
    classes = plan.arch.tree.root.y[0]
    return check_transfer(
        model, plan.freeze, plan.head, classes, weights=given, names=called, input=x, name=plan.before.name
    )


def _copy(model: nn.Module, lent: ExitStack) -> nn.Module:
    try:
        return copy_of(model, "cpu")
    except Exception:  # whatever its parts raise when they are copied: then it is lent, and put back
        return lent.enter_context(Borrowed(model, "cpu"))


class _TriedStep:
    """A step of training, from a generic point, where no gradient is zero by chance; what it moved."""

    def __init__(
        self,
        model: nn.Module,
        input: Shape,
        train: Callable[[nn.Module], Any],
        optimiser: Callable[[nn.Module], torch.optim.Optimizer] | None,
    ):
        generic_point(model)
        train(model)
        wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if optimiser is None and not wanted:
            raise RvCheckError("no parameter requires a gradient")
        made = optimiser(model) if optimiser else torch.optim.SGD(wanted, lr=0.1)
        before = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
        made.zero_grad()
        with seeded(CHANCE):
            returned = dict(tensors_of(model(image(input, BATCH, torch.float32, "cpu"))))
            if not returned:
                raise RvCheckError("it returns no tensor, expected logits")
            output = next(iter(returned.values()))  # an auxiliary head's stand behind them
            self.classes = int(output.shape[-1])
            labels = torch.arange(BATCH) % self.classes
            loss = nn.functional.cross_entropy(output, labels)
        if not bool(torch.isfinite(loss)):
            raise RvCheckError(f"the loss of a step is {float(loss)}")
        loss.backward()  # type: ignore[no-untyped-call]
        made.step()
        held = {id(parameter) for group in made.param_groups for parameter in group["params"]}
        named = dict(model.named_parameters())
        self.parameters = list(named)
        self.held = {name for name, parameter in named.items() if id(parameter) in held}
        sizes = {name: float(p.grad.abs().max()) for name, p in named.items() if p.grad is not None}
        largest = max(sizes.values(), default=0.0)
        self.flat = {name for name, size in sizes.items() if size <= SMALLEST * largest}
        after = _tensors(model)
        self.moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
        self.buffers = [name for name, _ in model.named_buffers() if not name.endswith("num_batches_tracked")]


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _finding(name: str, check: str, message: str, *, holds: bool, **details: Any) -> Finding:
    return Finding(name, check, "numbers", "passed" if holds else "failed", message, **details)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _flags(model: nn.Module, freeze: Sequence[str], name: str) -> Iterator[Finding]:
    """requires_grad is what is declared."""
    left = [one for one, p in model.named_parameters() if is_under(one, freeze) and p.requires_grad]
    off = [one for one, p in model.named_parameters() if not is_under(one, freeze) and not p.requires_grad]
    if left:
        yield _finding(
            name, "frozen", f"requires_grad is left on: {_some(left)}", holds=False, expected="off, in frozen parts"
        )
    if off:
        yield _finding(
            name, "trains", f"requires_grad is off: {_some(off)}", holds=False, expected="on, outside frozen parts"
        )


def _trained(step: _TriedStep, freeze: Sequence[str], name: str) -> Iterator[Finding]:
    """Exactly the declared parameters have other values after a step."""
    frozen = [one for one in step.parameters if is_under(one, freeze)]
    moved = [one for one in frozen if one in step.moved]
    said = f"{_some(moved)} changed in a step" if moved else f"{len(frozen)} frozen parameters are as before a step"
    yield _finding(name, "frozen", said, holds=not moved, expected="as before")
    wanted = [one for one in step.parameters if one not in frozen]
    still = [one for one in wanted if one not in step.moved and not (one in step.flat and one in step.held)]
    outside = [one for one in still if one not in step.held]
    why = f" (the optimiser does not have {_some(outside)})" if outside else ""
    said = f"{_some(still)} did not change in a step{why}" if still else f"{len(wanted)} parameters changed in a step"
    yield _finding(name, "trains", said, holds=not still and bool(wanted), expected="other values")


def _statistics(step: _TriedStep, freeze: Sequence[str], name: str, declared: bool) -> Iterator[Finding]:
    """The running statistics of frozen parts, where they are declared to stay."""
    moved = [one for one in step.buffers if is_under(one, freeze) and one in step.moved]
    if declared:
        said = f"{_some(moved)} moved in a step" if moved else "the running statistics of frozen parts stay"
        yield _finding(
            name, "statistics", said, holds=not moved, expected="frozen parts in eval mode after model.train()"
        )
    elif moved:
        said = f"{len(moved)} running statistics of frozen parts move in train mode, and are not declared to stay"
        yield _finding(name, "statistics", said, holds=True)


def _new_head(
    model: nn.Module,
    step: _TriedStep,
    head: str | None,
    classes: int | None,
    weights: Mapping[str, Tensor] | None,
    names: Mapping[str, str] | None,
    name: str,
) -> Iterator[Finding]:
    """It has the classes that are declared, and is not that of the weights."""
    if classes is not None:
        said = f"{step.classes} classes come out"
        yield _finding(
            name, "head", said, holds=step.classes == classes, found=str(step.classes), expected=str(classes)
        )
    if head is not None and weights is not None:
        shapes = {one: tuple(t.shape) for one, t in model.state_dict().items() if is_under(one, (head,))}
        old = account(shapes, weights, names).fits
        same = [one for one, value in old.items() if torch.equal(model.state_dict()[one].cpu(), value.cpu())]
        said = f"{_some(same)} is that of the weights" if same else f"{head} is not that of the weights"
        yield _finding(name, "head", said, holds=not same, expected="a new head")


def _backbone(
    model: nn.Module, head: str | None, weights: Mapping[str, Tensor], names: Mapping[str, str] | None, name: str
) -> Finding:
    """All but the head is what the weights say, bit for bit."""
    state = model.state_dict()
    found = account({one: tuple(tensor.shape) for one, tensor in state.items()}, weights, names)
    found = found.without(head) if head is not None else found
    if not found.is_whole:
        message = "\n".join(["these are not its weights", *found.lines])
        return _finding(name, "backbone", message, holds=False, expected="the given weights")
    other = [
        one for one, value in found.fits.items() if not torch.equal(state[one].cpu(), value.cpu().to(state[one].dtype))
    ]
    said = f"{_some(other)} differ from the weights" if other else f"{len(found.fits)} tensors are those of the weights"
    return _finding(name, "backbone", said, holds=not other, expected="the given weights")
