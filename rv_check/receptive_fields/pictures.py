"""Effective receptive fields as a picture, one panel a step."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

from rv_check.errors import RvCheckError
from rv_check.receptive_fields.effective import Effective
from rv_check.text import quote
from rv_check.writing import writable, write_bytes


def draw(found: Sequence[Effective], path: Path, title: str = "") -> None:
    """One panel a step: mean |gradient| over the largest one, and the theoretical field as a dashed line.

    Raises: RvCheckError for another ending than .png or .svg, where matplotlib is missing, or the file is not taken.
    """
    check_picture(str(path))
    figures: Any = import_module("matplotlib.figure")
    colors: Any = import_module("matplotlib.colors")
    patches: Any = import_module("matplotlib.patches")
    style: Any = import_module("matplotlib")
    across = min(len(found), 6)
    down = ceil(len(found) / across)
    figure = figures.Figure(figsize=(2.9 * across + 1.1, 3.35 * down + 0.6), dpi=110, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    norm = colors.PowerNorm(0.5, vmin=0, vmax=1)
    image = None
    for panel in panels.flat[len(found) :]:
        panel.set_axis_off()
    for panel, one in zip(panels.flat, found, strict=False):
        height, width = one.absolute.shape
        image = panel.imshow(
            (one.absolute / one.absolute.max()).tolist(), cmap="magma", norm=norm, interpolation="nearest"
        )
        top, left, rows, columns = one.square
        outline = {"fill": False, "edgecolor": "#7fd4ff", "linewidth": 1.5, "linestyle": "--"}
        panel.add_patch(patches.Rectangle((left - 0.5, top - 0.5), columns, rows, **outline))
        panel.set_xlim(-0.5, width - 0.5)
        panel.set_ylim(height - 0.5, -0.5)
        theory = f"{rows} px" if rows == columns else f"{rows} x {columns} px"
        beyond = ", beyond the image" if one.is_cut else ""
        share = ", cut off" if one.is_cut else f" ({one.share:.0%})"
        panel.set_title(f"{one.step}\ntheory {theory}{beyond}\neffective {one.width:.0f} px{share}", fontsize=9)
        panel.tick_params(labelsize=7)
    bar = figure.colorbar(image, ax=panels, shrink=0.9)
    bar.set_label("mean |gradient|, largest = 1\n(square-root scale)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    if title:
        figure.suptitle(title, fontsize=11)
    svg = {"svg.hashsalt": "rv-check", "svg.fonttype": "none"}  # so that the same numbers give the same file
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
    picture = io.BytesIO()
    with style.rc_context(svg):
        figure.savefig(picture, format=path.suffix.lower().lstrip("."), metadata=metadata)
    write_bytes(path, picture.getvalue())


PICTURES = (".png", ".svg")


def check_picture(name: str) -> Path:
    """Where a picture goes, before any work. Raises: RvCheckError, also where matplotlib is missing."""
    if Path(name).suffix.lower() not in PICTURES:
        raise RvCheckError(f"{quote(name)} is no name of a picture", expected=f"FILE{' or FILE'.join(PICTURES)}")
    if find_spec("matplotlib") is None:
        raise RvCheckError("a picture needs matplotlib", expected="it installed, as by pip install 'rv-check[plot]'")
    return writable(name)
