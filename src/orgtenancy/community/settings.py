"""What of the community a host can tune."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pydantic import Field, NonNegativeInt
from pydantic_settings import SettingsConfigDict

from orgtenancy.settings import ModuleSettings

#: What the endpoints for moderators declare; `moderator_scope` stands in its place.
MODERATE: Final = "community:moderate"


class CommunitySettings(ModuleSettings):
    """Settings of the community, from `ORGTENANCY_COMMUNITY_*` if not given.

    ```python
    Tenancy(..., modules=[community.with_settings(CommunitySettings(search_language="german"))])
    ```

    Attributes:
        search_language: The text search configuration of PostgreSQL that posts and groups
            are searched with: `english`, `german`, `simple`, ... An organization gets it
            when it is provisioned.
        max_comment_depth: How deep a reply can be; a comment on the post itself has depth 0.
        message_edit_window: How long after sending a message can be edited.
        moderator_scope: Who holds it moderates the whole organization.
    """

    model_config = SettingsConfigDict(env_prefix="ORGTENANCY_COMMUNITY_")

    search_language: str = Field(default="english", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    max_comment_depth: NonNegativeInt = Field(default=5, le=50)
    message_edit_window: timedelta = Field(default=timedelta(minutes=15), ge=timedelta(0))
    moderator_scope: str = Field(default=MODERATE, min_length=1)

    def scopes_of(self, endpoint: str, declared: tuple[str, ...]) -> tuple[str, ...]:
        """Return which scopes an endpoint asks for; a moderator's asks for `moderator_scope`."""
        moderating = tuple(self.moderator_scope if s == MODERATE else s for s in declared)
        return super().scopes_of(endpoint, moderating)
