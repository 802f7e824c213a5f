"""`python -m tests.soak [--minutes 10] [--organizations 500] [--processes 4]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter

from tests.soak.plants import PLANTS
from tests.soak.running import JUDGED_FROM, Outcome, Plan, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="nox -s soak --", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--organizations", type=int, default=500)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--restarts", type=int, help="of the server; one per minute if not given")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="a bug that must be found")
    given = parser.parse_args()
    # The server is restarted, so it is the run's own.
    os.environ.pop("DATABASE_URL", None)
    restarts = max(1, int(given.minutes)) if given.restarts is None else given.restarts
    outcome = run(
        Plan(
            seconds=given.minutes * 60,
            organizations=given.organizations,
            processes=given.processes,
            restarts=restarts,
            plant=given.plant,
        )
    )
    print_report(outcome)
    sys.exit(1 if outcome.violations else 0)


def print_report(outcome: Outcome) -> None:
    """Print what happened, and what is wrong."""
    total = sum(outcome.done.values())
    print(
        f"{total} transactions in {outcome.seconds:.0f} s, {total / outcome.seconds:.0f} a second"
    )
    _print_counts("committed", outcome.done)
    _print_counts("errors", outcome.errors)
    _print_counts("the owner", outcome.chaos)
    print(f"\nacknowledged rows looked for: {outcome.rows}")
    print(f"connections at the end: {outcome.connections}, at most {outcome.allowed} are kept")
    print("\nmedian of the second quarter -> of the last")
    for figure in outcome.growth:
        print(f"  {figure}{'' if figure.is_flat else '   GROWS'}")
    if not outcome.growth:
        print(f"  not said of a run below {JUDGED_FROM / 60:.0f} minutes")
    print(f"\nviolations: {len(outcome.violations) or 'none'}")
    for told in outcome.violations:
        print(f"  {told}")


def _print_counts(title: str, counts: Counter[str]) -> None:
    print(f"\n{title}")
    for name, number in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"  {number:>8}  {name}")


if __name__ == "__main__":
    main()
