"""``python -m msa``."""

import sys

from msa.cli import main

if __name__ == "__main__":
    # Where the output has no sign for an umlaut or a dash, it is no reason to fail.
    sys.stdout.reconfigure(errors="replace")
    sys.exit(main())
