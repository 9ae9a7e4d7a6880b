"""Level numbers: do the states correspond, how are they initialised, and do both compute the same?

Outputs and gradients are compared at a generic point, in eval mode and of a step in train mode. Outputs are compared in
both modes at each of several sizes; gradients, which take four fifths of the time, in both modes, and at each size in
one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from rv_check.checks.check import Check, Outcome, Run
from rv_check.checks.findings import Finding
from rv_check.checks.pair import Pair
from rv_check.checks.states import Mismatch, few, loads, shapes_of
from rv_check.ops.op import Shape
from rv_check.text import shown_shape

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rv_check.checks.of_two import SameRun as TwoRun
    from rv_check.graphs.differences import Slot
    from rv_check.modules.trace import TensorDifference


def state_dict(run: Run, check: Check) -> Outcome:
    """Names, order and shapes of parameters and buffers are the expected ones, and each loads the other's strictly.

    A module may have other names than the spec: then each parameter that is mapped to one of these is there.
    """
    pair = run.matched()
    if pair.map is not None and shapes_of(pair.expected).keys() != shapes_of(pair.found).keys():
        yield from mapped(run, check, pair, pair.map)
        return
    loads(pair.expected, pair.found)
    loads(pair.found, pair.expected)
    n = len(pair.expected.state_dict())
    yield check.passed(run, f"{n} parameters and buffers: names and shapes; strict loading both ways")


def mapped(run: Run, check: Check, pair: Pair, slots: Mapping[str, Slot]) -> Outcome:
    """Every parameter and buffer of the spec has its own in the module, and the module has no others.

    Raises: Mismatch.
    """
    expected, found = shapes_of(pair.expected), shapes_of(pair.found)
    lost = [name for name in expected if name not in slots]
    counters = [name for name in lost if name.endswith("num_batches_tracked")]
    known = {piece.name for slot in slots.values() for piece in slot.pieces} | set(run.structure.idle_buffers)
    known |= run.structure.of_extra | set(run.structure.idle if run.structure.expected.is_cut else ())
    more = [name for name in found if name not in known]
    if len(lost) > len(counters) or more:
        raise Mismatch("parameters and buffers without a counterpart", few(more), few(lost))
    without = f"; {len(counters)} counts of batches are not kept" if counters else ""
    yield check.passed(run, f"{len(expected) - len(lost)} parameters and buffers, by other names{without}")


def init(run: Run, check: Check) -> Outcome:
    """What is freshly built starts as the spec says: a reference's model bit for bit, a module's by distribution."""
    yield from run.initial(check)


def logits(run: Run, check: Check) -> Outcome:
    """The outputs at the declared input, in float32 with TF32 off, batch of 2."""
    import torch

    from rv_check.modules import trace

    pair = run.matched().at_generic_point(torch.float32)
    x = pair.batch(run.input, torch.float32, run.device)
    what = f"eval mode at {shown_shape(run.input)}, float32"
    expected, found = pair.each(what, lambda module, places: trace.output(module, x, places))
    tolerance = trace.TOLERANCE[torch.float32]
    yield measured(run, check, what, list(trace.compare_outputs(expected, found)), tolerance)


def evaluation(run: Run, check: Check) -> Outcome:
    """Eval mode in float64: the output, and at every other size the gradients of all parameters and of the input."""
    run.matched()
    sizes = run.sizes()
    for x in sizes:
        yield compare_runs(run, check, x, train=False, backward=x in sizes[::2])
    yield from runs_nowhere_else(run, check)


def runs_nowhere_else(run: Run, check: Check) -> Outcome:
    """A size at which only the expected module runs: VGG without its adaptive pool is VGG at 224 and nowhere else."""
    import torch

    pair = run.matched().at_generic_point(torch.float64)
    pair.expected.eval()
    for x in run.sizes_without():
        try:
            with torch.no_grad():
                pair.batch(x, torch.float64, run.device).call(pair.expected)
        except Exception:  # whatever it raises: it does not run there either, and nothing is claimed
            continue
        found, expected = "a network of other parameters, or none", f"one that runs, as {pair.names[0]} does"
        yield check.failed(run, f"the spec does not fit at {shown_shape(x)}", found=found, expected=expected)


def training(run: Run, check: Check) -> Outcome:
    """A train-mode step in float64: the output and the running statistics it leaves; the gradients at other sizes
    than in eval mode, or at the only one."""
    run.matched(training=True)
    sizes = run.sizes(training=True)
    for x in sizes:
        yield compare_runs(run, check, x, train=True, backward=x in (sizes[1::2] or sizes))


def own_weights(run: TwoRun, check: Check) -> Outcome:
    """Every output of two modules with the weights that they have, in eval mode: of two images, and of other sizes."""
    from rv_check.modules import trace
    from rv_check.modules.record import dtype_of

    pair = run.as_they_are
    for x in run.sizes_of_both:
        for more in range(2 if x == run.input else 1):

            def outputs(module: nn.Module, places: object, x: Shape = x, more: int = more) -> dict[str, torch.Tensor]:
                return trace.outputs(module, pair.batch(x, dtype_of(module), run.device, more=more))

            what = f"eval mode at {shown_shape(x)}, as they are{', another image' if more else ''}"
            expected, found = pair.each(what, outputs)
            differences = [
                trace.compare(f"output {where}".strip(), expected.get(where), found.get(where))
                for where in expected | found
            ]
            yield measured(run, check, what, differences, run.tolerance)


def compare_runs(run: Run, check: Check, x: Shape, train: bool, backward: bool) -> Finding:
    """Forward and maybe backward of the pair on one batch of 2, in float64, and the first place that differs."""
    import torch

    from rv_check.modules import trace

    pair = run.matched()
    dtype: torch.dtype = getattr(torch, pair.computes_in)
    data = pair.at_generic_point(dtype).batch(x, dtype, run.device)
    names = trace.shared_modules(pair.expected, pair.found)
    mode = "train" if train else "eval"
    what = f"{mode} mode at {shown_shape(x)}, {pair.computes_in}"

    def traced(module: nn.Module, places: trace.Places) -> trace.Trace:
        return trace.run(module, data, train, names, places, backward=backward)

    expected, found = pair.each(what, traced, training=train)
    if pair.map is not None:
        expected = trace.limited(expected, pair.weights.keys() - run.structure.not_learned)
        found = trace.renamed(found, pair.weights, expected)
    if not train:
        other = pair.batch(x, dtype, run.device, more=1)
        outputs = pair.each(what, lambda module, places: trace.output(module, other, places))
        again = trace.compare_outputs(*outputs, " for another image")
    differences = [replace(d, decides=d.decides or run.parts_decide) for d in trace.differences(expected, found, train)]
    if not train:
        differences += again
    pair.expected.zero_grad(set_to_none=True)
    pair.found.zero_grad(set_to_none=True)
    strict, loose = trace.TOLERANCE[dtype], trace.TOLERANCE[torch.float32]
    deciding = [d for d in differences if d.decides]
    if not all(d.within(strict) for d in deciding) and all(d.within(loose) for d in deciding):
        inside = pair.each(what, lambda module, places: trace.types_within(module, data))
        if torch.float32 in inside[0] | inside[1]:  # a softmax that is computed in float32 is no more exact than that
            dtype, what = torch.float32, f"{what} with float32 inside"
    return measured(run, check, what, differences, trace.TOLERANCE[dtype])


def measured(run: Run, check: Check, what: str, differences: Sequence[TensorDifference], tolerance: float) -> Finding:
    """Passed when every difference that decides is within the tolerance; else the first in the order of the flow."""
    from rv_check.modules.generic_point import CHANCE, INPUT, WEIGHTS

    wrong = [d for d in differences if not d.within(tolerance)]
    if not any(d.decides for d in wrong):
        largest = max(d.relative for d in differences if d.decides)
        how = "bit for bit" if largest == 0 else f"largest relative difference {largest:.2g}, tolerance {tolerance:g}"
        tensors = "the output" if len(differences) == 1 else f"{len(differences)} tensors"
        return check.passed(run, f"{what}: {tensors}, {how}", difference=largest, tolerance=tolerance)
    first = wrong[0]
    by = f" by {first.relative:.3g}, tolerance {tolerance:g}" if isfinite(first.relative) else ""
    others = "" if len(differences) == 1 else f"; {len(wrong)} of {len(differences)} tensors differ"
    return check.failed(
        run,
        f"{what}: {first.what} differs{by}{others}\nseeds: weights {WEIGHTS}, dropout and loss {CHANCE}, input {INPUT}",
        found=first.found,
        expected=first.expected,
        difference=first.relative,
        tolerance=tolerance,
        place=run.place_of(first.module),
        step=first.module or None,
    )
