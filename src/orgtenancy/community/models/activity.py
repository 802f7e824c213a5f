"""Who did what, append-only."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from sqlalchemy import Index, func, text
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from orgtenancy.community.models.base import Base, Key, UserId, length
from orgtenancy.modules import PERSON

MAX_ACTION_LENGTH = 100
MAX_ENTITY_LENGTH = 255


class ActivityLog(Base):
    """One action, written in its own transaction."""

    __tablename__ = "activity_logs"
    __table_args__ = (
        length("action", 1, MAX_ACTION_LENGTH),
        length("entity_type", 1, MAX_ENTITY_LENGTH),
        length("entity_id", 1, MAX_ENTITY_LENGTH),
        Index("ix_activity_logs_user", "user_id", "id"),
        Index("ix_activity_logs_entity", "entity_type", "entity_id", "id"),
        Index("ix_activity_logs_action", "action", "id"),
        Index("ix_activity_logs_created_at", "created_at"),
    )

    id: Mapped[Key]
    #: Empty for what the system did.
    user_id: Mapped[UserId | None]
    action: Mapped[str]
    entity_type: Mapped[str | None]
    #: A person's, where that is what it was done to.
    entity_id: Mapped[UserId | None]
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata", JSONB, default=dict, server_default=text("'{}'"), info=PERSON
    )
    ip_address: Mapped[IPv4Address | IPv6Address | None] = mapped_column(INET)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
