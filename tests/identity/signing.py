"""Good tokens to change, and the claims that a real Logto put in its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from orgtenancy.testing.keys import Signer as Signer
from orgtenancy.testing.keys import key_set as key_set

ISSUER = "https://issuer.example/oidc"
API = "https://api.example.com"
PREFIX = "urn:logto:organization:"

RECORDINGS = Path(__file__).parent.parent / "data" / "logto" / "tokens.jsonl"
_NAMES = {
    "management": "mgmt token",
    "machine, organization": "m2m org token",
    "machine, API of organization": "m2m org API resource",
    "user, organization": "user org token",
    "user, API of organization": "user org API token",
    "user, API alone": "user API token w/o org",
}


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token, changed; a change to None leaves a claim out."""
    now = int(time.time())
    members = {
        "iss": ISSUER,
        "sub": "afb6zw2tnuqy",
        "aud": API,
        "iat": now,
        "exp": now + 3600,
        "organization_id": "7zp7flxblujn",
        "scope": "read:posts write:posts",
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def recording(kind: str) -> dict[str, dict[str, Any]]:
    """Return header and claims of a token recorded from a running Logto, as they were."""
    entries = map(json.loads, RECORDINGS.read_text().splitlines())
    (found,) = (entry for entry in entries if entry["kind"] == _NAMES[kind])
    return {"header": found["header"], "claims": found["claims"]}


def recorded(kind: str) -> dict[str, Any]:
    """Return claims recorded from a running Logto, with their times moved to now."""
    now = int(time.time())
    return {**recording(kind)["claims"], "iat": now, "exp": now + 3600}
