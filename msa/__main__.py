"""``python -m msa``."""

import sys

from msa.cli import main

if __name__ == "__main__":
    sys.exit(main())
