"""What the claims of a token say about a person."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from orgtenancy.community import inputs
from orgtenancy.community.models.base import MAX_URL_LENGTH
from orgtenancy.community.models.profiles import MAX_DISPLAY_NAME_LENGTH, MAX_USERNAME_LENGTH

_NAME_CLAIMS = ("preferred_username", "username", "nickname", "name")
_not_in_usernames = re.compile(r"[^A-Za-z0-9._-]+").sub


def details(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return what claims say of a person, without what no profile could hold."""
    known: dict[str, str] = {}
    name, picture = claims.get("name"), claims.get("picture")
    if isinstance(name, str) and inputs.storable(name) and name.strip():
        known["display_name"] = name.strip()[:MAX_DISPLAY_NAME_LENGTH].strip()
    if (
        isinstance(picture, str)
        and inputs.storable(picture)
        and len(picture) <= MAX_URL_LENGTH
        and inputs.is_url(picture)
    ):
        known["avatar_url"] = picture
    return known


def usernames(user_id: str, claims: Mapping[str, Any]) -> Iterator[str]:
    """Yield user names to try: the claimed one, then with ever longer suffixes."""
    claimed = next((c for c in map(claims.get, _NAME_CLAIMS) if c and isinstance(c, str)), "")
    ascii_only = unicodedata.normalize("NFKD", claimed.partition("@")[0]).encode("ascii", "ignore")
    base = _not_in_usernames("-", ascii_only.decode()).strip("._-") or "user"
    yield base[:MAX_USERNAME_LENGTH]
    digest = hashlib.blake2b(user_id.encode(), digest_size=3).hexdigest()
    for suffix in (digest, secrets.token_hex(4), secrets.token_hex(8)):
        yield f"{base[: MAX_USERNAME_LENGTH - 1 - len(suffix)]}-{suffix}"
