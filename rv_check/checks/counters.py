"""Level numbers: what fvcore and torch count on the built model, against the spec's formulas."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rv_check.checks.check import Check, Outcome
from rv_check.checks.findings import Finding
from rv_check.checks.of_arch import ArchRun
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.modules.guard import run_theirs
from rv_check.ops.op import Shape
from rv_check.optional import need

if TYPE_CHECKING:
    from torch import nn

    from rv_check.costs.operations import Operation


def counters(run: ArchRun, check: Check) -> Outcome:
    """Parameters and multiply-adds as fvcore and torch count them on the built model, against the spec's formulas.

    What they count besides is a convention, and is stated as one: torch counts two FLOPs a multiply-add; fvcore adds
    two per element of a batch norm and one per input element of an adaptive pool. Nothing is left to a tolerance.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from rv_check.costs.operations import operations, operations_of
    from rv_check.modules.build import build
    from rv_check.modules.observe import Subject

    arch = run.expanded
    model = run_theirs("the model does not build from its spec", lambda: build(arch, "meta").eval())
    parameters = sum(p.numel() for p in model.parameters())
    yield _count(run, check, "parameters of the built model", parameters, arch.params)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run_theirs("the model does not run", lambda: model(torch.empty((1, *arch.input), device="meta")))
    flops = counter.get_total_flops()
    yield _count(run, check, "FLOPs by torch's counter, two per multiply-add", flops, 2 * arch.macs)
    seen = run_theirs("the model does not run", lambda: Subject(model).observe(At(arch.input, batch=1), Form.AS_RUN))
    total = sum(operation.macs for operation in operations(seen))
    yield _count(run, check, "multiply-adds of the operations that the built model runs", total, arch.macs)

    by_op = run_theirs("fvcore does not count", lambda: fvcore_counts(model, arch.input))
    expected = fvcore_convention(operations_of(arch))
    for name in sorted(by_op.keys() | expected.keys()):
        yield _count(run, check, f"{name} by fvcore", by_op.get(name, 0), expected.get(name, 0))


def _count(run: ArchRun, check: Check, what: str, found: int, expected: int) -> Finding:
    ok = found == expected
    return check.finding(run, f"{what}: {found:,}", holds=ok, found=f"{found:,}", expected=f"{expected:,}")


def fvcore_counts(model: nn.Module, x: Shape) -> dict[str, int]:
    """fvcore's count for each operator, on one image. It traces on real tensors, which the model gets here."""
    import copy
    import logging

    import torch

    logger = logging.getLogger("fvcore.nn.jit_analysis")
    before = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is built on torch.jit, which torch deprecates
        counter = need("fvcore.nn")
        real = copy.deepcopy(model).to_empty(device="cpu")
        for tensor in real.state_dict().values():
            tensor.fill_(1)
        analysis = counter.FlopCountAnalysis(real, torch.zeros((1, *x)))
        analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        logger.setLevel(logging.ERROR)
        try:
            return {name: int(number) for name, number in analysis.by_operator().items() if number}
        finally:
            logger.setLevel(before)


def fvcore_convention(done: Iterable[Operation]) -> dict[str, int]:
    """What fvcore's rule counts, by its own names."""
    from rv_check.costs.conventions import convention

    rule = convention("fvcore")
    total: dict[str, int] = {}
    for operation in done:
        name = rule.calls.get(operation.kind, operation.kind)
        total[name] = total.get(name, 0) + rule.of(operation)
    return {name: number for name, number in total.items() if number}
