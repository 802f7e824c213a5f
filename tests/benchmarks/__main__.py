"""`python -m tests.benchmarks NAME [options]`: each benchmark is a module with a `main`."""

from __future__ import annotations

import argparse
import importlib

#: What there is, and the module that measures it.
BENCHMARKS = {
    "adoption": "tests.benchmarks.adoption",
    "alembic_threads": "tests.benchmarks.alembic_threads",
    "backup": "tests.benchmarks.backup",
    "capacity": "tests.benchmarks.capacity",
    "community": "tests.benchmarks.community",
    "drift": "tests.benchmarks.drift",
    "identity": "tests.benchmarks.identity",
    "instructions": "tests.benchmarks.instructions",
    "isolation": "tests.benchmarks.isolation",
    "migration": "tests.benchmarks.migration",
    "provisioning": "tests.benchmarks.provisioning",
    "request_path": "tests.benchmarks.request_path",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("options", nargs=argparse.REMAINDER, help="see: NAME --help")
    given = parser.parse_args()
    importlib.import_module(BENCHMARKS[given.name]).main(given.options)


if __name__ == "__main__":
    main()
