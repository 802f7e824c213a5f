"""Which tenancy a command works on: the host's own, or one made of URLs and modules."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orgtenancy.errors import ConfigurationError
from orgtenancy.modules import OrganizationModule
from orgtenancy.schemas.fleet import each
from orgtenancy.schemas.fleet.journal import this_runner
from orgtenancy.tenancy import Tenancy

_PROJECT_FILE = Path("pyproject.toml")
_NEXT_STEP = (
    "say which tenancy: `orgtenancy --app package.module:name ...`, ORGTENANCY_APP, or "
    '`app = "package.module:name"` under [tool.orgtenancy] in pyproject.toml; or give '
    "--url, --admin-url and --module"
)


@dataclass(frozen=True, slots=True)
class Source:
    """What the options before the command say of the tenancy.

    Attributes:
        app: Where the host's tenancy is.
        url: The app's login.
        admin_url: The owner of the schemas.
        modules: Where the modules are.
    """

    app: str | None = None
    url: str | None = None
    admin_url: str | None = None
    modules: tuple[str, ...] = ()


#: Set by the options before the command.
source_var: ContextVar[Source] = ContextVar("orgtenancy.cli.source")


def load_tenancy(app: str | None = None) -> Tenancy:
    """Return the tenancy that a command works on; the caller closes it.

    The options before the command come first. Without any, it is the host's own, named by
    `ORGTENANCY_APP` or by `app` under `[tool.orgtenancy]` of the `pyproject.toml` in the
    current directory; else one made of `ORGTENANCY_URL`, `ORGTENANCY_ADMIN_URL` and
    `ORGTENANCY_MODULES`, or `modules` in the same file.

    Args:
        app: `package.module:name` of a Tenancy, or of a function that returns one.

    Raises:
        ConfigurationError: If there is none, or it cannot be imported.
    """
    _make_importable(Path.cwd())
    given, environment = source_var.get(Source()), _from_environment()
    if place := app or given.app:
        return _tenancy_at(place)
    if given == Source():
        configured = _from_pyproject(_PROJECT_FILE)
        if place := environment.app or configured.app:
            return _tenancy_at(place)
        if not (environment.url or environment.admin_url):
            raise ConfigurationError(f"no tenancy is given: {_NEXT_STEP}")
    return _made_of(given, environment)


def origin() -> str:
    """Return what the audit tells of where a command's work comes from: who typed it, and where."""
    typed_by = this_runner()
    return f"cli:{typed_by.user}@{typed_by.host}"


def find_object(place: str) -> Any:
    """Return what is at `package.module:name`; the current directory is importable.

    Raises:
        ConfigurationError: If there is nothing.
    """
    _make_importable(Path.cwd())
    return each.find_object(place)


def find_module(place: str) -> OrganizationModule:
    """Return the module at `package.module:name`.

    Raises:
        ConfigurationError: If there is none.
    """
    found = find_object(place)
    if not isinstance(found, OrganizationModule):
        raise ConfigurationError(f"{place!r} is a {type(found).__name__}, no OrganizationModule")
    return found


def _tenancy_at(place: str) -> Tenancy:
    found = find_object(place)
    if callable(found):
        found = found()
    if not isinstance(found, Tenancy):
        raise ConfigurationError(
            f"{place!r} is a {type(found).__name__}, neither a Tenancy nor a function that "
            "returns one"
        )
    return found


def _made_of(given: Source, environment: Source) -> Tenancy:
    """Return a tenancy made of URLs and modules; the options come before the environment."""
    url, admin_url = given.url or environment.url, given.admin_url or environment.admin_url
    if url is None:
        raise ConfigurationError(
            "no URL of the app's login is given: --url or ORGTENANCY_URL, as "
            "postgresql+psycopg://app@host/database"
        )
    modules = given.modules or environment.modules or _from_pyproject(_PROJECT_FILE).modules
    return Tenancy(url, admin_url=admin_url, modules=[find_module(place) for place in modules])


def _from_environment() -> Source:
    modules = os.environ.get("ORGTENANCY_MODULES", "")
    return Source(
        app=os.environ.get("ORGTENANCY_APP") or None,
        url=os.environ.get("ORGTENANCY_URL") or None,
        admin_url=os.environ.get("ORGTENANCY_ADMIN_URL") or None,
        modules=tuple(place.strip() for place in modules.split(",") if place.strip()),
    )


def _from_pyproject(file: Path) -> Source:
    """Return what the project's file says; URLs carry passwords, and are not read from it."""
    if not file.is_file():
        return Source()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    table = content.get("tool", {}).get("orgtenancy", {})
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"[tool.orgtenancy] in {file} is no table")
    app, modules = table.get("app"), table.get("modules", [])
    if not isinstance(app, str | None):
        raise ConfigurationError(f"`app` under [tool.orgtenancy] in {file} is no text")
    if not isinstance(modules, list) or not all(isinstance(place, str) for place in modules):
        raise ConfigurationError(f"`modules` under [tool.orgtenancy] in {file} is no list of texts")
    return Source(app=app, modules=tuple(modules))


def _make_importable(folder: Path) -> None:
    # As with `python -m`, and as `alembic` and `flask` do it: an installed command has its
    # own folder in the path, and not the current one.
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
