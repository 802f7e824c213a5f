"""The files of a new module."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from orgtenancy.errors import ConfigurationError
from orgtenancy.modules import _is_name as is_module_name

TEMPLATES = Path(__file__).parent / "templates"

_is_place = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)").fullmatch


@dataclass(frozen=True, slots=True)
class NewModule:
    """What was written.

    Attributes:
        files: All files.
        section: What to add to an `alembic.ini` that was there already, or None.
    """

    files: tuple[Path, ...]
    section: str | None


def write_module(name: str, directory: Path = Path(), *, app: str | None = None) -> NewModule:
    """Write a package for a new module, and an `alembic.ini` where there is none.

    Args:
        name: The module's name, and the package's.
        directory: The folder that the package goes into.
        app: Where the host's tenancy is, as `package.module:name`; without it, `env.py` finds
            it as the command line does.

    Raises:
        ConfigurationError: If the name cannot be one, or a file is there already; nothing is
            written then.
    """
    if not is_module_name(name) or keyword.iskeyword(name):
        raise ConfigurationError(
            f"{name!r} cannot be a module's name: 1 to 31 of [a-z0-9_], starting with a letter, "
            "and no word of Python's own"
        )
    root = Path.cwd()
    package = directory / name
    files = _files(name, app)
    targets = {package / file: content for file, content in files.items()}
    for target in targets:
        if target.exists():
            raise ConfigurationError(f"{target} is there already; nothing was written")
    location = _relative(package / "migrations", root)
    ini = Path("alembic.ini")
    has_ini = ini.exists()
    section = _fill(
        "alembic.ini", section=name if has_ini else "alembic", location=location.as_posix()
    )
    if not has_ini:
        targets[ini] = section
    for target, content in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(content)
    return NewModule(tuple(targets), section if has_ini else None)


def _files(name: str, app: str | None) -> Mapping[str, str]:
    revision = f"{name}_0001"
    return {
        "__init__.py": _fill("__init__.py", name=name),
        "models.py": _fill("models.py", name=name),
        "migrations/env.py": _fill("env.py", name=name, **_tenancy(app)),
        "migrations/script.py.mako": (TEMPLATES / "environment" / "script.py.mako").read_text(
            encoding="utf-8"
        ),
        f"migrations/versions/{revision}.py": _fill("revision.py", name=name, revision=revision),
    }


def _tenancy(app: str | None) -> Mapping[str, str]:
    if app is None:
        return {
            "import_tenancy": "from orgtenancy.cli.context import load_tenancy",
            "tenancy": "load_tenancy()",
        }
    found = _is_place(app)
    if found is None:
        raise ConfigurationError(f"{app!r} is no place of a tenancy: package.module:name")
    module, name = found.groups()
    return {"import_tenancy": f"from {module} import {name}", "tenancy": name}


def _relative(folder: Path, root: Path) -> Path:
    try:
        return folder.resolve().relative_to(root.resolve())
    except ValueError:
        raise ConfigurationError(
            f"{folder} is not below the current directory, where alembic.ini is"
        ) from None


def _fill(template: str, **values: str) -> str:
    text = (TEMPLATES / "module" / f"{template}.txt").read_text(encoding="utf-8")
    return Template(text).substitute(values)
