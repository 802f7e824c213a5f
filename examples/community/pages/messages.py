"""A conversation and its messages: read, say, change, delete and report them."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from examples.community.pages.common import (
    MANY,
    Content,
    Conversations,
    Field,
    Messages,
    PageFrame,
    Participants,
    Profiles,
    Record,
    people_of,
    see,
)
from examples.community.templating import is_htmx, render
from examples.community.views import title_of
from orgtenancy import PageRequest
from orgtenancy.adapters.fastapi import CurrentActor
from orgtenancy.community import AsyncParticipantRepository, AsyncUserProfileRepository, Message

router = APIRouter()

_PAGE = PageRequest(limit=30)
_Number = Annotated[int, Form(ge=0, lt=2**63)]


@router.get("/conversations/{conversation_id}")
async def show_conversation(
    request: Request,
    frame: PageFrame,
    actor: CurrentActor,
    conversations: Conversations,
    participants: Participants,
    messages: Messages,
    profiles: Profiles,
    conversation_id: UUID,
    before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> Response:
    """Show a conversation, or what was said in it before; opening it is reading it."""
    conversation = await conversations.get_visible(conversation_id, actor.id)
    found = await messages.list_before(conversation_id, actor.id, _PAGE, before=before)
    said = found.items[::-1]
    present = (await participants.find_present(conversation_id, actor.id, MANY)).items
    people = await people_of(
        profiles, {p.user_id for p in present} | {message.sender_id for message in said}
    )
    values: dict[str, Any] = {
        "conversation": conversation,
        "said": said,
        "older": said[0].sequence if found.next_cursor else None,
        "people": people,
        "me": actor.id,
    }
    if is_htmx(request):
        return render(request, "parts/messages.html", **values)
    position = next((p.last_read_sequence for p in present if p.user_id == actor.id), 0)
    others = [people[p.user_id] for p in present if p.user_id != actor.id]
    # Of the messages that are shown: more may have been said since the conversation was read.
    last = said[-1].sequence if said else 0
    if position < last:
        await participants.mark_read(conversation_id, actor.id, last)
    # What the frame counted before is read by now.
    unread = sum((await participants.unread_counts(actor.id)).values())
    return render(
        request,
        "conversation.html",
        frame=frame.model_copy(update={"unread": unread}),
        title=title_of(conversation.name, others),
        others=others,
        position=position,
        last=last,
        before=before,
        client_key=uuid4(),
        known=(await profiles.list(MANY)).items if conversation.type == "group" else (),
        **values,
    )


@router.get("/conversations/{conversation_id}/news")
async def show_news(
    request: Request,
    actor: CurrentActor,
    participants: Participants,
    messages: Messages,
    profiles: Profiles,
    conversation_id: UUID,
    after: Annotated[int, Query(ge=0, lt=2**63)],
) -> Response:
    """Show what was said since, in a conversation that is open: so it is read."""
    return await _since(request, actor.id, participants, messages, profiles, conversation_id, after)


@router.post("/conversations/{conversation_id}/messages")
async def say(
    request: Request,
    actor: CurrentActor,
    participants: Participants,
    messages: Messages,
    profiles: Profiles,
    conversation_id: UUID,
    content: Content,
    client_key: Field,
    after: _Number = 0,
) -> Response:
    """Say something; with the same key again, it is said once."""
    await messages.send(conversation_id, actor.id, content=content, client_key=client_key)
    if not is_htmx(request):
        return see(f"/conversations/{conversation_id}")
    return await _since(
        request,
        actor.id,
        participants,
        messages,
        profiles,
        conversation_id,
        after,
        client_key=uuid4(),
    )


@router.get("/messages/{message_id}")
async def show_message(
    request: Request, actor: CurrentActor, messages: Messages, profiles: Profiles, message_id: UUID
) -> Response:
    """Show a message as it is now."""
    message = await messages.get_visible(message_id, actor.id)
    return await _changed(request, message, actor.id, profiles)


@router.post("/messages/{message_id}/edit")
async def edit_message(
    request: Request,
    actor: CurrentActor,
    messages: Messages,
    profiles: Profiles,
    record: Record,
    message_id: UUID,
    content: Content,
) -> Response:
    """Change one's own message, soon after it was sent."""
    message = await messages.edit(message_id, actor.id, content)
    await record("message.edit", message_id)
    return await _changed(request, message, actor.id, profiles)


@router.post("/messages/{message_id}/delete")
async def delete_message(
    request: Request,
    actor: CurrentActor,
    messages: Messages,
    profiles: Profiles,
    record: Record,
    message_id: UUID,
) -> Response:
    """Delete one's own message."""
    if await messages.soft_delete(message_id, actor.id):
        await record("message.delete", message_id)
    message = await messages.get_visible(message_id, actor.id)
    return await _changed(request, message, actor.id, profiles)


@router.post("/messages/{message_id}/flag")
async def flag_message(
    request: Request,
    actor: CurrentActor,
    messages: Messages,
    profiles: Profiles,
    record: Record,
    message_id: UUID,
    reason: Field = "",
) -> Response:
    """Report a message to the moderators."""
    if await messages.flag(message_id, actor.id, reason):
        await record("message.flag", message_id)
    message = await messages.get_visible(message_id, actor.id)
    return await _changed(request, message, actor.id, profiles)


async def _since(
    request: Request,
    user_id: str,
    participants: AsyncParticipantRepository,
    messages: Any,
    profiles: AsyncUserProfileRepository,
    conversation_id: UUID,
    after: int,
    client_key: UUID | None = None,
) -> Response:
    found = (await messages.list_after(conversation_id, user_id, MANY, after=after)).items
    if found and any(message.sender_id != user_id for message in found):
        await participants.mark_read(conversation_id, user_id, found[-1].sequence)
    return render(
        request,
        "parts/news.html",
        conversation_id=conversation_id,
        said=found,
        people=await people_of(profiles, {message.sender_id for message in found}),
        last=found[-1].sequence if found else after,
        client_key=client_key,
        me=user_id,
    )


async def _changed(
    request: Request, message: Message, user_id: str, profiles: AsyncUserProfileRepository
) -> Response:
    if not is_htmx(request):
        return see(f"/conversations/{message.conversation_id}#message-{message.id}")
    people = await people_of(profiles, [message.sender_id])
    return render(request, "parts/message.html", message=message, people=people, me=user_id)
