"""Conversations: those one takes part in, and how many messages wait there."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from examples.community.pages.common import (
    MANY,
    Conversations,
    Field,
    Messages,
    PageFrame,
    Participants,
    Profiles,
    Record,
    WantedPage,
    people_of,
    person_by,
    see,
    wants_part,
)
from examples.community.templating import render
from examples.community.views import ConversationView, title_of
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.community import Conversation, Message

router = APIRouter()


@router.get("/conversations")
async def show_conversations(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    conversations: Conversations,
    participants: Participants,
    messages: Messages,
    profiles: Profiles,
    page: WantedPage,
    live: Annotated[bool, Query()] = False,
) -> Response:
    """Show where one takes part, the most recently active first, or more of it."""
    found = await conversations.find_for(actor.id, page)
    ids = [conversation.id for conversation in found.items]
    present = await participants.present_in(ids)
    unread = await participants.unread_counts(actor.id)
    last = await messages.last_messages(ids)
    people = await people_of(profiles, {p.user_id for some in present.values() for p in some})

    def view(conversation: Conversation) -> ConversationView:
        places = present[conversation.id]
        others = tuple(people[p.user_id] for p in places if p.user_id != actor.id)
        return ConversationView(
            id=conversation.id,
            title=title_of(conversation.name, others),
            people=others,
            last=_beginning(last.get(conversation.id), actor.id),
            unread=unread.get(conversation.id, 0),
            updated_at=conversation.updated_at,
        )

    views = found.map(view)
    if wants_part(request, page) or live:
        return render(request, "parts/conversations.html", conversations=views)
    known = (await profiles.list(MANY)).items
    return render(
        request,
        "conversations.html",
        frame=frame,
        conversations=views,
        known=[p for p in known if p.status == "active" and p.user_id != actor.id],
    )


@router.post("/conversations")
async def begin_conversation(
    actor: CurrentActor,
    conversations: Conversations,
    record: Record,
    people: Annotated[list[str], Form()],
    name: Field = "",
) -> Response:
    """Begin a conversation: with one person the one there is, with several a new one."""
    if len(people) == 1 and not name.strip():
        conversation = await conversations.open_direct(actor.id, people[0])
    else:
        conversation = await conversations.create(
            creator_id=actor.id, participant_ids=people, name=name
        )
        await record("conversation.create", conversation.id)
    return see(f"/conversations/{conversation.id}")


@router.post("/people/{username}/conversation")
async def write_to(
    actor: CurrentActor, conversations: Conversations, profiles: Profiles, username: str
) -> Response:
    """Go to the conversation with a person; the first time it is begun."""
    other = await person_by(profiles, username)
    conversation = await conversations.open_direct(actor.id, other.user_id)
    return see(f"/conversations/{conversation.id}")


@router.get("/unread")
async def show_unread(
    request: Request, actor: CurrentActor, participants: Participants
) -> Response:
    """Show how many messages wait: the part of the frame that changes by itself."""
    unread = sum((await participants.unread_counts(actor.id)).values())
    return render(request, "parts/unread.html", unread=unread)


@router.post("/conversations/{conversation_id}/people")
async def bring_in(
    actor: CurrentActor,
    participants: Participants,
    profiles: Profiles,
    record: Record,
    conversation_id: UUID,
    username: Field,
) -> Response:
    """Bring somebody into a conversation of several people."""
    person = await person_by(profiles, username)
    await participants.invite(conversation_id, actor.id, [person.user_id])
    await record("conversation.invite", conversation_id, user_ids=[person.user_id])
    return see(f"/conversations/{conversation_id}")


@router.post("/conversations/{conversation_id}/rename")
async def rename_conversation(
    actor: CurrentActor,
    conversations: Conversations,
    record: Record,
    conversation_id: UUID,
    name: Field = "",
) -> Response:
    """Name a conversation of several people, or take its name away."""
    await conversations.rename(conversation_id, actor.id, name)
    await record("conversation.rename", conversation_id)
    return see(f"/conversations/{conversation_id}")


@router.post("/conversations/{conversation_id}/leave")
async def leave_conversation(
    actor: CurrentActor, participants: Participants, record: Record, conversation_id: UUID
) -> Response:
    """Take part in a conversation no more."""
    await participants.leave(conversation_id, actor.id)
    await record("conversation.leave", conversation_id)
    return see("/conversations")


def _beginning(message: Message | None, user_id: str) -> str:
    """Return what was said last, as one line."""
    if message is None:
        return "Nothing has been said yet."
    said = "A deleted message" if message.deleted_at else message.content or "A picture"
    return f"You: {said}" if message.sender_id == user_id else said
