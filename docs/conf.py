"""The documentation site: `tox -e docs` builds it, with every warning an error."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parents[1]))

project = "rv-check"
copyright = "the authors of rv-check, MIT licence"
try:
    release = importlib.metadata.version("rv-check")
except importlib.metadata.PackageNotFoundError:
    release = "from source"

extensions = ["myst_parser", "generated"]
exclude_patterns = ["_*"]  # _build, and parts that pages include
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3  # a link may name a section, as in levels.md#numbers
smartquotes = False  # quotes are part of what is to be typed
html_theme = "furo"
html_title = "rv-check"
