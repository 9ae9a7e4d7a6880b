"""What one sees while `tox` works: what is being installed, why that takes long, and what is known already."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tox.plugin import impl
from tox.tox_env.api import ToxEnv
from tox.tox_env.runner import RunToxEnv

WORDS = """\
Installing torch and torchvision into {folder}, once for all environments: torch brings its libraries for CUDA
along, so that there may be 3 GB to download and 6 GB to write. This takes some minutes, and shows nothing meanwhile.
"""
USUAL_COLOUR = "\x1b[39m"  # a tox that runs this one paints red what comes on stderr, and nothing is wrong


@impl
def tox_on_install(tox_env: ToxEnv, arguments: Any, section: str, of_type: str) -> None:
    """Say so before an environment that is to have torch gets its packages, unless it is there already."""
    if not isinstance(tox_env, RunToxEnv) or of_type != "deps" or "extras" not in tox_env.conf:
        return  # what builds the package has no extras; nor, to an older tox, has what installs no package
    folder = tox_env.env_dir
    if "torch" in tox_env.conf["extras"] and not any(folder.rglob("site-packages/torch")):
        colour = USUAL_COLOUR if sys.stderr.isatty() else ""
        print(colour + WORDS.format(folder=folder), file=sys.stderr, flush=True)


@impl
def tox_before_run_commands(tox_env: ToxEnv) -> None:
    """Before the table of `report` is made, print on stderr what needs no torch: a second, and then minutes."""
    if tox_env.name == "report":
        words = tox_env.conf["commands"][-1].args
        asked = words[words.index("report") + 1 :]
        if any(word.startswith("-") and word != "--family" for word in asked):
            return  # of what else it shall do, or where to, this would be too much
        command = [str(tox_env.conf["env_python"]), "-m", "rv_check", "report", *asked, "--level", "spec"]
        subprocess.run(command, stdout=sys.stderr.fileno(), cwd=tox_env.core["tox_root"], check=False)
