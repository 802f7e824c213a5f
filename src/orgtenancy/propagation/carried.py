"""What goes along with work that leaves this process: values, which are verified on arrival."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from orgtenancy.context import (
    actor_var,
    bind,
    current_actor,
    current_origin,
    organization_var,
    origin_var,
    session_var,
)
from orgtenancy.errors import (
    OrganizationContextMissing,
    OrganizationMismatch,
    OrganizationNotFound,
)
from orgtenancy.organizations import Actor, Organization, OrganizationId
from orgtenancy.registry import store

if TYPE_CHECKING:
    from orgtenancy.tenancy import Tenancy

#: The header, or the option, of a message that holds it.
HEADER = "orgtenancy"

_MAX_DELAY = 60  # seconds


class Carried(BaseModel):
    """For whom work is done that was left for later.

    Attributes:
        organization_id: The organization; None for work of the control side.
        actor_id: Who acts, if known.
        scopes: What the actor was granted. Other claims of a token do not travel.
        origin: Where the work came from, as `current_origin` says.
        postponed: How often it was put off because the organization was not open yet.
    """

    model_config = ConfigDict(frozen=True)

    organization_id: OrganizationId | None = None
    actor_id: str | None = None
    scopes: tuple[str, ...] = ()
    origin: str = "python"
    postponed: int = 0

    @classmethod
    def from_context(cls) -> Self:
        """Return what the current context says."""
        organization, actor = organization_var.get(), current_actor()
        return cls(
            organization_id=None if organization is None else organization.id,
            actor_id=None if actor is None else actor.id,
            scopes=() if actor is None else tuple(sorted(actor.scopes)),
            origin=current_origin(),
        )

    @classmethod
    def from_headers(cls, headers: Mapping[str, Any] | None) -> Self | None:
        """Return what a message carries, or None if it carries nothing.

        Raises:
            OrganizationContextMissing: If nobody can read it.
        """
        value = (headers or {}).get(HEADER)
        if value is None:
            return None
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise OrganizationContextMissing(
                "what a message carries of its organization cannot be read"
            ) from error

    def headers(self) -> dict[str, Any]:
        """Return it as headers of a message: plain values, for any serializer."""
        return {HEADER: self.model_dump(mode="json")}

    def follow(self, headers: dict[str, Any], *, name: str) -> None:
        """Put it on a message that follows from the one that carries it, if that has none.

        Args:
            headers: Those of the message that follows.
            name: What that is called, for the error.

        Raises:
            OrganizationContextMissing: If nobody can read what is there.
            OrganizationMismatch: If it is for another organization.
        """
        given = self.from_headers(headers)
        if given is None:
            headers.update(self.headers())
        elif given.organization_id != self.organization_id:
            raise OrganizationMismatch(
                f"{name!r} of organization {given.organization_id!r} was to follow from work of "
                f"{self.organization_id!r}: let it be of the control side",
                organization_id=self.organization_id,
            )

    def postpone(self, retry_after: int) -> tuple[Self, int]:
        """Return what is carried the next time, and in how many seconds that is.

        Args:
            retry_after: Seconds to wait the first time; doubled each time, up to a minute.
        """
        delay = min(retry_after * 2 ** min(self.postponed, 6), _MAX_DELAY)
        return self.model_copy(update={"postponed": self.postponed + 1}), delay

    @property
    def actor(self) -> Actor | None:
        """Who acts, or None where nobody is known."""
        if self.actor_id is None:
            return None
        return Actor(id=self.actor_id, scopes=frozenset(self.scopes))


def to_publish(
    given: Carried | None, inherited: Carried | None, *, is_control: bool, name: str
) -> Carried:
    """Return what a message is to carry.

    Args:
        given: What the caller put on it, or the message it continues.
        inherited: What the work carries that publishes it, where no organization is bound.
        is_control: Whether it is work of the control side.
        name: What it is called, for the error.

    Raises:
        OrganizationContextMissing: If no organization is bound, inherited or given.
        OrganizationMismatch: If it was given another organization than the one bound.
    """
    here = Carried.from_context()
    if is_control:
        return (given or here).model_copy(update={"organization_id": None})
    if here.organization_id is None:
        here = inherited or here
    if given is None:
        if here.organization_id is None:
            raise OrganizationContextMissing(
                f"{name!r} was published without an organization: bind one first, or declare "
                "that it is work of the control side"
            )
        return here
    if given.organization_id is None:
        raise OrganizationContextMissing(f"{name!r} carries no organization")
    if here.organization_id not in (None, given.organization_id):
        raise OrganizationMismatch(
            f"{name!r} was to be published for organization {given.organization_id!r} inside "
            f"the context of {here.organization_id!r}",
            organization_id=given.organization_id,
        )
    return given


@contextmanager
def working_for(tenancy: Tenancy, carried: Carried | None, *, origin: str) -> Iterator[None]:
    """Bind what work carries, after a look at what the registry says now.

    Args:
        tenancy: Finds the organization.
        carried: What came with the work.
        origin: What the audit is to say.

    Raises:
        OrganizationContextMissing: If no organization came with it.
        OrganizationNotFound: If the registry does not have it.
        OrganizationUnavailable: If it is not open for work; `retry_after` says whether it
            may be soon.
    """
    if carried is None or carried.organization_id is None:
        raise OrganizationContextMissing(f"{origin} came without an organization")
    with (
        bind(session_var, None),
        tenancy.organization(find_now(tenancy, carried.organization_id)),
        bind(actor_var, carried.actor),
        bind(origin_var, origin),
    ):
        yield


@contextmanager
def working_for_control(carried: Carried | None, *, origin: str) -> Iterator[None]:
    """Bind what work of the control side carries: no organization."""
    with (
        bind(session_var, None),
        bind(organization_var, None),
        bind(actor_var, None if carried is None else carried.actor),
        bind(origin_var, origin),
    ):
        yield


def find_now(tenancy: Tenancy, organization_id: str) -> Organization:
    """Return an organization as the registry has it now, whatever this process remembers.

    Raises:
        OrganizationNotFound: If it does not have it.
    """
    with tenancy.control_session() as session:
        found = store.find(session.connection(), organization_id)
    if found is None:
        raise OrganizationNotFound(
            f"no organization {organization_id!r}", organization_id=organization_id
        )
    return found
