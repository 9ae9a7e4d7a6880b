"""Tells whoever runs `tox` what is being installed, and why that takes long: tox itself shows nothing meanwhile."""

from __future__ import annotations

import sys
from typing import Any

from tox.plugin import impl
from tox.tox_env.api import ToxEnv

WORDS = """\
Installing torch and torchvision into {folder}, once for all environments: torch brings its libraries for CUDA
along, so that there may be 3 GB to download and 6 GB to write. This takes some minutes, and shows nothing meanwhile.
"""


@impl
def tox_on_install(tox_env: ToxEnv, arguments: Any, section: str, of_type: str) -> None:
    """Say so before an environment that is to have torch gets its packages, unless it is there already."""
    folder = tox_env.env_dir
    if of_type == "deps" and "torch" in tox_env.conf["extras"] and not any(folder.rglob("site-packages/torch")):
        print(WORDS.format(folder=folder), file=sys.stderr, flush=True)
