"""How an organization's id becomes the names of its schema and role.

`schema = "org_" + id`, always quoted: no truncation, no folding, so two ids never
meet in one schema. PostgreSQL cuts identifiers at 63 bytes (`NAMEDATALEN - 1`), which
leaves 59 for the id, and an ASCII alphabet makes a character a byte.
"""

from __future__ import annotations

import hashlib
import re
import secrets

from orgtenancy.errors import InvalidOrganizationId

SCHEMA_PREFIX = "org_"
SPARE_PREFIX = "orgtenancy_spare_"
REGISTRY_SCHEMA = "orgtenancy"
#: The placement that has the directory of the others, and may hold organizations as they do.
CONTROL_PLACEMENT = "default"
MAX_ID_LENGTH = 59

_is_valid = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,58}").fullmatch


def validate_organization_id(organization_id: str) -> str:
    """Return the id unchanged if it follows the rules.

    Args:
        organization_id: 1 to 59 of `[A-Za-z0-9_-]`, starting with a letter or digit.

    Raises:
        InvalidOrganizationId: Naming the rule that it breaks.
    """
    given: object = organization_id  # what a caller without type checks may pass
    if isinstance(given, str) and _is_valid(given):
        return given
    raise InvalidOrganizationId(f"invalid organization id: {_broken_rule(given)}")


def _broken_rule(organization_id: object) -> str:
    if not isinstance(organization_id, str):
        return f"it must be a str, not {type(organization_id).__name__}"
    if not organization_id:
        return "it must not be empty"
    if len(organization_id) > MAX_ID_LENGTH:
        return f"it has {len(organization_id)} characters, the limit is {MAX_ID_LENGTH}"
    if not (organization_id[0].isascii() and organization_id[0].isalnum()):
        return f"it must start with one of A-Z, a-z, 0-9, not {organization_id[0]!a}"
    wrong = next(c for c in organization_id if not (c.isascii() and (c.isalnum() or c in "_-")))
    return f"only A-Z, a-z, 0-9, '_' and '-' are allowed, not {wrong!a}"


def schema_name(organization_id: str) -> str:
    """Return the name of the organization's schema, unquoted.

    Raises:
        InvalidOrganizationId: If the id breaks a rule.
    """
    return SCHEMA_PREFIX + validate_organization_id(organization_id)


def new_role_name(database: str) -> str:
    """Return a fresh, opaque name for an organization's role.

    Roles belong to the whole cluster while schemas belong to a database, so the name
    carries a digest of the database's name: two databases on one server never collide.
    """
    return f"{role_prefix(database)}{secrets.token_hex(8)}"


def spare_schema_name(role: str) -> str:
    """Return the name of the schema of a spare, which no organization's schema can have."""
    return SPARE_PREFIX + role.rpartition("_")[2]


def control_role_name(database: str) -> str:
    """Return the name of the role that reads the registry of a database."""
    return f"{role_prefix(database)}control"


def role_prefix(database: str) -> str:
    """Return what all role names of one database start with."""
    digest = hashlib.blake2b(database.encode(), digest_size=5).hexdigest()
    return f"orgtenancy_{digest}_"
