"""What a reconciliation is about to do, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from orgtenancy.identity.logto_sync.api.management import LogtoUser

SyncAction: TypeAlias = Literal[
    "provision",
    "restore",
    "link",
    "rename",
    "set_attributes",
    "archive",
    "add_member",
    "remove_member",
    "suspend_actor",
    "resume_actor",
]


class SyncItem(BaseModel):
    """One thing to do.

    Attributes:
        action: What: `link` notes that an organization made by hand is Logto's too.
        organization_id: To which organization; None for an actor, whatever the organization.
        actor_id: To which member or actor, if it is one.
        name: The display name that it gets, if it gets one.
        attributes: The labels that it gets, if it gets any.
        known_at: Since when what was known of the member or actor was so, before Logto was
            asked; None if nothing was known.
        asked_at: When Logto had said that a member who is put out is none.
    """

    model_config = ConfigDict(frozen=True)

    action: SyncAction
    organization_id: str | None = None
    actor_id: str | None = None
    name: str | None = None
    attributes: Mapping[str, Any] | None = None
    known_at: datetime | None = None
    asked_at: datetime | None = None


class LeftAlone(BaseModel):
    """An organization for which nothing is done, or not all, although something could be.

    Attributes:
        organization_id: Its id, as Logto has it.
        reason: Why, for people.
    """

    model_config = ConfigDict(frozen=True)

    organization_id: str
    reason: str


class SyncFailure(BaseModel):
    """Something that could not be done.

    Attributes:
        organization_id: To which organization; None for actors.
        action: What; `read_members` if Logto did not tell them, `on_member` for the host's own
            function.
        code: The error's code.
        message: What went wrong, for people.
    """

    model_config = ConfigDict(frozen=True)

    organization_id: str | None
    action: str
    code: str
    message: str


class SyncPlan(BaseModel):
    """What would make the registry as Logto is.

    Attributes:
        started_at: When Logto was about to be read; what changed here later stays as it is.
        seen: How many organizations Logto has.
        is_whole: Whether all of them were seen; if not, they changed for too long meanwhile.
            What was seen is true all the same, and the next plan has the rest.
        items: What to do, organization by organization.
        left_alone: For which organizations nothing is done, and why; or nothing about their
            members.
        failures: What could not be read. Nothing follows from it.
        users: The members of each organization, where they are wanted; not in a document.
    """

    model_config = ConfigDict(frozen=True)

    started_at: datetime
    seen: int
    is_whole: bool
    items: tuple[SyncItem, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
    failures: tuple[SyncFailure, ...] = ()
    users: Mapping[str, tuple[LogtoUser, ...]] = Field(
        default_factory=dict, exclude=True, repr=False
    )

    @property
    def archived(self) -> tuple[str, ...]:
        """The organizations that would be archived."""
        return tuple(str(i.organization_id) for i in self.items if i.action == "archive")

    def counts(self) -> dict[str, int]:
        """Return how often each action is planned, without those that are not."""
        return dict(Counter(item.action for item in self.items))

    def by_subject(self) -> Iterator[tuple[str | None, tuple[SyncItem, ...]]]:
        """Yield what to do to each organization; None stands for actors."""
        for organization_id, items in groupby(self.items, lambda item: item.organization_id):
            yield organization_id, tuple(items)


class SyncReport(BaseModel):
    """What became of a plan.

    Attributes:
        plan: The plan.
        is_applied: Whether it was carried out; False for a dry run.
        done: How often each action was done; what somebody else had done meanwhile is not in it.
        failures: What could not be read, or not be done. The rest was done.
        left_alone: For which organizations nothing was done, and why: those of the plan, and
            those that changed since.
    """

    model_config = ConfigDict(frozen=True)

    plan: SyncPlan
    is_applied: bool
    done: Mapping[str, int] = Field(default_factory=dict)
    failures: tuple[SyncFailure, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
