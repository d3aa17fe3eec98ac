"""`python -m sweeps ..` is `sharedris sweep ..`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipeline.cli.main import main as sharedris


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the sweeps; the exit codes are those of `pipeline.cli.main`."""
    return sharedris(["sweep", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
