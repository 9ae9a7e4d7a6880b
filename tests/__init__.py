"""What holds rv_check to its word.

`unit` is about rv_check, in folders like those of the package; `parity` about the shipped specs; `mutants` about what
the tool can tell apart; `bench` measures. Tests are imported by their places from the root of the repository, and so
are the modules that they share: `from tests.unit.tiny import Net`.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1]
