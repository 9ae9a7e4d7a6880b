"""`python -m rv_check` is `rv-check`."""

import sys

from rv_check.cli.main import main

sys.exit(main())
