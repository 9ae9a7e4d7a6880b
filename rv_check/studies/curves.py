"""Pictures of the studies: curves with their spread over seeds, residual networks against plain ones."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rv_check.errors import RvCheckError
from rv_check.optional import need
from rv_check.writing import write_bytes

if TYPE_CHECKING:
    from rv_check.studies.degradation import DegradationResult
    from rv_check.studies.gradients import MeasuredStack

COLOURS = {"residual": "#1f77b4", "plain": "#d62728"}
ENDINGS = (".png", ".svg")


def draw_gradients(found: Sequence[MeasuredStack], name: Path) -> list[Path]:
    """Two panels: the ratio of the first layer's gradients by depth, and norms along the deepest of each stack.

    Args: `name` without an ending; a .png and an .svg are written.
    Raises: CannotRun where matplotlib is missing, RvCheckError where a file cannot be written.
    """
    deepest = {one.stack.name: one for one in found if one.finite}
    if not deepest:
        raise RvCheckError("no gradient is finite, so that there is nothing to draw", expected="a smaller --rate")
    figure = _figure(1 + len(deepest), "gradients, with shortcuts and without: the same weights and data")
    ratios, *panels = figure.axes
    for stack in deepest:
        some = [one for one in found if one.stack.name == stack and one.finite]
        by_seed = [one.ratios for one in some]
        _band(ratios, [one.depth for one in some], by_seed, f"{stack}, {some[0].stack.unit}", None)
    ratios.axhline(1, color="#888888", linewidth=0.8)
    ratios.set(yscale="log", xscale="log", xlabel="depth", ylabel="first layer's |gradient|, residual / plain")
    ratios.legend(fontsize=7)
    for panel, one in zip(panels, deepest.values(), strict=True):
        for kind, colour in COLOURS.items():
            by_layer = [[getattr(run, kind)[name] for run in one.finite] for name in one.finite[0].plain]
            _band(panel, list(range(1, len(by_layer) + 1)), by_layer, kind, colour)
        panel.set(yscale="log", xlabel="weight layer", title=f"{one.stack.name}, {one.depth} {one.stack.unit}")
        panel.legend(fontsize=7)
    return _save(figure, name)


def draw_degradation(result: DegradationResult, name: Path) -> list[Path]:
    """Two panels, training and test error by epoch: a line for each network, the median of its seeds, with the range.

    Args and raises as of `draw_gradients`.
    """
    figure = _figure(2, f"{result.data}: one recipe, growing depth")
    depths = sorted({run.depth for run in result.runs})
    for panel, what in zip(figure.axes, ("train_error", "test_error"), strict=True):
        for (kind, depth), runs in result.by_network().items():
            by_epoch = [[getattr(run.log[epoch], what) for run in runs] for epoch in range(len(runs[0].log))]
            shade = 0.35 + 0.65 * (depths.index(depth) + 1) / len(depths)
            line = "-" if depth == depths[-1] else "--" if depth == depths[0] else ":"
            epochs = [epoch.epoch for epoch in runs[0].log]
            _band(panel, epochs, by_epoch, f"{kind} {depth}", COLOURS[kind], alpha=shade, linestyle=line)
        panel.set(xlabel="epoch", ylabel=f"{what.replace('_', ' ')}, %", ylim=(0, 100))
        panel.legend(fontsize=7)
    return _save(figure, name)


def _figure(panels: int, title: str) -> Any:
    figure = need("matplotlib.figure", "plot").Figure(figsize=(4.2 * panels, 3.8), dpi=110, layout="constrained")
    figure.subplots(1, panels)
    figure.suptitle(title, fontsize=11)
    return figure


def _band(
    panel: Any,
    at: Sequence[float],
    values: Iterable[Sequence[float]],
    label: str,
    colour: str | None,
    **style: Any,
) -> None:
    """The median of each place as a line, its range as a band."""
    every = [sorted(some) for some in values]
    (line,) = panel.plot(at, [median(some) for some in every], label=label, color=colour, marker=".", **style)
    low, high = [some[0] for some in every], [some[-1] for some in every]
    panel.fill_between(at, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def _save(figure: Any, name: Path) -> list[Path]:
    style: Mapping[str, Any] = {"svg.hashsalt": "rv-check", "svg.fonttype": "none"}  # the same numbers, the same file
    written = []
    with ExitStack() as stack:
        stack.enter_context(need("matplotlib", "plot").rc_context(style))
        for ending in ENDINGS:
            path = name.with_name(name.name + ending)
            picture = io.BytesIO()
            metadata = {"Date": None} if ending == ".svg" else {"Software": None}
            figure.savefig(picture, format=ending.lstrip("."), metadata=metadata)
            write_bytes(path, picture.getvalue())
            written.append(path)
    return written
