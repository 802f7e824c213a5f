"""Organizations that are on their way, as a call of `provision` leaves them half-way."""

from __future__ import annotations

from sqlalchemy import Connection, text

from orgtenancy.naming import new_role_name, schema_name

_RESERVE = text(
    "SELECT count(*) FROM orgtenancy.claim_spares(ARRAY[:id], ARRAY[:id], ARRAY[:schema], "
    "ARRAY[CAST('{}' AS jsonb)], ARRAY[:role], ARRAY[NULL], ARRAY[NULL], ARRAY['test'], "
    "'default', 'no spare has this digest', '{}')"
)


def reserve(connection: Connection, organization_id: str) -> bool:
    """Reserve an id, unless there is such an organization, and return whether it was done."""
    values = {
        "id": organization_id,
        "schema": schema_name(organization_id),
        "role": new_role_name("race"),
    }
    return bool(connection.scalar(_RESERVE, values))
