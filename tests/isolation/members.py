"""Members of organizations, and what is planted for them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from orgtenancy.identity import StaticKeys, logto
from tests.identity.signing import Signer, claims, key_set
from tests.support.notes import NoteRepository

_SIGNER = Signer("key")

#: Opens the organization that a token names.
RESOLVER = logto("https://issuer.example", audiences=["https://api.example.com"]).resolver(
    StaticKeys(key_set(_SIGNER))
)


def as_member(organization: str) -> dict[str, str]:
    """Return the headers of an organization's member."""
    token = _SIGNER.sign(claims(organization_id=organization, sub="alice"))
    return {"authorization": f"Bearer {token}"}


def plant(session: Session, mark: str) -> None:
    """Write the mark into an organization."""
    NoteRepository(session).write(1, mark)
    NoteRepository(session).write(2, "another note")
