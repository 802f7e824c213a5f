"""`python -m examples.community`: the community app on a PostgreSQL of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.community.stopping import Stop


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.community", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="where to listen; 0: any free port")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the data in this folder")
    parser.add_argument("--check", action="store_true", help="walk through the app once, and stop")
    options = parser.parse_args(arguments)
    with Stop() as stop:
        try:
            # It takes a second to import, in which a signal may come.
            from examples.community.demo import run

            return run(options.port, options.keep, stop, checking=options.check)
        except KeyboardInterrupt:
            return 1 if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
