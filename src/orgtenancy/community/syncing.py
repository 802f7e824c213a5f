"""Profiles of people who have not come yet, as the identity provider knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy.orm import Session

from orgtenancy.community.profiles import UserProfileRepository


class Person(Protocol):
    """What an identity provider tells of a user."""

    @property
    def claims(self) -> Mapping[str, Any]:
        """The same as claims of a token, `sub` among them."""
        ...


def sync_profile(session: Session, organization: object, person: Person) -> None:
    """Make the profile of a member, or fill in what is empty, as a first visit does.

    To be given to a reconciliation with the identity provider, as its `on_member`.

    Args:
        session: A session of the organization.
        organization: The organization; the session is its own already.
        person: The member.

    Raises:
        Invalid: If the id cannot be one of a profile.
    """
    UserProfileRepository(session).upsert_from_claims(person.claims)
