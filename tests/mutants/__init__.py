"""Each guard is taken away, one at a time, and the tests must fail: `nox -s mutants`."""
