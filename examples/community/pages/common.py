"""What all pages share: repositories, the frame around them, and the record of what was done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Form, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import RedirectResponse, Response

from examples.community.people import Texts, all_people, all_texts
from examples.community.templating import is_htmx
from examples.community.views import PersonView
from orgtenancy import Organization, PageRequest
from orgtenancy.adapters import client_address
from orgtenancy.adapters.fastapi import CurrentActor, CurrentOrganization, Repository
from orgtenancy.community import (
    AsyncActivityLogRepository,
    AsyncConversationRepository,
    AsyncGroupMemberRepository,
    AsyncGroupRepository,
    AsyncMessageRepository,
    AsyncParticipantRepository,
    AsyncPostCommentRepository,
    AsyncPostLikeRepository,
    AsyncPostRepository,
    AsyncUserProfileRepository,
    CommunitySettings,
    UserProfile,
)
from orgtenancy.errors import NotFound

Activity = Repository[AsyncActivityLogRepository]
Comments = Repository[AsyncPostCommentRepository]
Conversations = Repository[AsyncConversationRepository]
Groups = Repository[AsyncGroupRepository]
Likes = Repository[AsyncPostLikeRepository]
Members = Repository[AsyncGroupMemberRepository]
Messages = Repository[AsyncMessageRepository]
Participants = Repository[AsyncParticipantRepository]
Posts = Repository[AsyncPostRepository]
Profiles = Repository[AsyncUserProfileRepository]

#: How many of something small are shown at once, in place of page after page.
MANY = PageRequest(limit=100)


class PageQuery(PageRequest):
    """Which page of a list."""

    limit: int = Query(default=15, ge=1, le=50)


WantedPage = Annotated[PageQuery, Query()]


async def plain(content: Annotated[str, Form()]) -> str:
    """Return what was written; browsers send lines as RFC 7578 wants them."""
    return content.replace("\r\n", "\n")


Content = Annotated[str, Depends(plain)]
Field = Annotated[str, Form()]


async def moderating(actor: CurrentActor) -> bool:
    """Return whether somebody moderates the whole organization."""
    return CommunitySettings().moderator_scope in actor.scopes


IsModerator = Annotated[bool, Depends(moderating)]


class Frame(BaseModel):
    """What stands around every page: who is where, and where they could go."""

    model_config = ConfigDict(frozen=True)

    organization: Organization
    me: PersonView
    is_active: bool
    is_moderator: bool
    organizations: tuple[Texts, ...]
    unread: int


async def frame(
    actor: CurrentActor,
    organization: CurrentOrganization,
    profiles: Profiles,
    participants: Participants,
    is_moderator: IsModerator,
) -> Frame:
    """Return the frame; a member's first page makes their profile."""
    me = await profiles.upsert_from_claims(actor.claims)
    mine = all_people()[actor.id].organizations
    return Frame(
        organization=organization,
        me=PersonView.of(me, actor.id),
        is_active=me.status == "active",
        is_moderator=is_moderator,
        organizations=tuple(texts for texts in all_texts() if texts.id in mine),
        unread=sum((await participants.unread_counts(actor.id)).values()),
    )


PageFrame = Annotated[Frame, Depends(frame)]


class Recorder:
    """Writes what somebody does into the activity log, as the JSON API does."""

    def __init__(
        self, activity: AsyncActivityLogRepository, user_id: str, address: str | None
    ) -> None:
        self._activity = activity
        self._user_id = user_id
        self._address = address

    async def __call__(self, action: str, entity_id: str | UUID, **metadata: Any) -> None:
        """Record an action, like `post.create`, in the transaction that does it."""
        await self._activity.record(
            action,
            user_id=self._user_id,
            entity_type=action.partition(".")[0],
            entity_id=entity_id,
            metadata=metadata,
            ip_address=self._address,
        )


async def recorder(request: Request, actor: CurrentActor, activity: Activity) -> Recorder:
    """Return what records the actions of a request."""
    address = client_address(request.client.host if request.client else None)
    return Recorder(activity, actor.id, address)


Record = Annotated[Recorder, Depends(recorder)]


class People:
    """The people beside a list of rows, loaded in one query."""

    def __init__(self, profiles: Mapping[str, UserProfile]) -> None:
        self._profiles = profiles

    def __getitem__(self, user_id: str) -> PersonView:
        return PersonView.of(self._profiles.get(user_id), user_id)


async def people_of(profiles: AsyncUserProfileRepository, user_ids: Iterable[str]) -> People:
    """Return the people with some ids; who has no profile is a former member."""
    found = await profiles.get_many(user_ids)
    return People({profile.user_id: profile for profile in found})


async def person_by(profiles: AsyncUserProfileRepository, username: str) -> UserProfile:
    """Return the profile with a user name.

    Raises:
        NotFound: If there is none.
    """
    profile = await profiles.get_by_username(username.strip().removeprefix("@"))
    if profile is None:
        raise NotFound("there is nobody of that name in this organization")
    return profile


def wants_part(request: Request, page: PageRequest) -> bool:
    """Return whether a script asks for more of a list, and not for the whole page."""
    return is_htmx(request) and page.cursor is not None


def see(path: str) -> Response:
    """Go on to a page, after a change."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
