"""Everything a developer runs: `nox -l` lists it, `nox` alone runs the quick tests.

A session's environment is kept, and installed again only when its requirements changed.
"""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["quick"]

PYPROJECT = Path("pyproject.toml")
PYTHONS = ["3.11", "3.12", "3.13"]
# Each has a database of its own on one embedded server. More than there are processors: many
# tests wait, for a lock or for another process.
WORKERS = ("--numprocesses=4",)
SQLALCHEMY = {"2.0": "sqlalchemy>=2.0.44,<2.1", "2.1": "sqlalchemy>=2.1,<2.2"}


def install(
    session: nox.Session, *extras: str, groups: tuple[str, ...] = (), also: tuple[str, ...] = ()
) -> None:
    """Install the project with extras and dependency groups, unless that is what is there."""
    requirements = [
        "-e",
        f".[{','.join(extras)}]" if extras else ".",
        *nox.project.dependency_groups(nox.project.load_toml(PYPROJECT), *groups),
        *also,
    ]
    wanted = hashlib.sha256(
        PYPROJECT.read_bytes() + "\0".join([str(Path.cwd()), *requirements]).encode()
    ).hexdigest()
    stamp = session.env_dir / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        session.debug("The requirements have not changed since the last run.")
        return
    session.install(*requirements)
    if session.env_dir.is_dir():  # not with --no-venv
        stamp.write_text(wanted)


@nox.session
def demo(session: nox.Session) -> None:
    """Serve the community app on a PostgreSQL of its own: [--port N] [--keep DIR] [--check]."""
    # A shell starts background jobs with SIGINT ignored; a supervisor may send SIGTERM to
    # this process alone. Both end the demo like Ctrl-C in a terminal does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    install(session, "example")
    session.run(
        "python",
        "-m",
        "examples.community",
        *session.posargs,
        # Ctrl-C in a terminal reaches the app as well; a signal to this process does not,
        # and then the app gets SIGTERM after the first wait.
        interrupt_timeout=1.0,
        terminate_timeout=10.0,
    )


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that are not marked slow."""
    install(session, "all", groups=("tests",))
    session.run("pytest", *WORKERS, "-m", "not slow", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, or those that the arguments name."""
    install(session, "all", groups=("tests",))
    session.run("pytest", *WORKERS, *session.posargs)


@nox.session(python=PYTHONS)
@nox.parametrize("sqlalchemy", [nox.param(v, id=f"sqlalchemy-{v}") for v in SQLALCHEMY])
def matrix(session: nox.Session, sqlalchemy: str) -> None:
    """Run all tests on every supported Python and SQLAlchemy."""
    install(session, "all", groups=("tests",), also=(SQLALCHEMY[sqlalchemy],))
    session.run("pytest", *WORKERS, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and the import contracts."""
    install(session, "all", groups=("lint",))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types: mypy for everything, pyright for the public signatures."""
    install(session, "all", groups=("tests", "types"))
    session.run("mypy", *session.posargs)
    session.run("pyright", "--pythonpath", f"{session.bin}/python")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into `.site/`; warnings are errors."""
    install(session, "all", groups=("docs",))
    session.run(
        "mkdocs",
        "build",
        "--strict",
        "--config-file=.mkdocs.yml",
        *session.posargs,
        env={"NO_MKDOCS_2_WARNING": "1"},
    )


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Run the benchmarks that the arguments name, such as `request_path`."""
    install(session, "all", groups=("benchmarks",))
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run readers, writers and faults: [--minutes 10] [--organizations 500] [--processes 4]."""
    install(session, "all", groups=("tests",))
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Take each guard away, one at a time, and see the tests fail: [WORD ...]."""
    install(session, "all", groups=("tests",))
    session.run("python", "-m", "tests.mutants", *session.posargs)
