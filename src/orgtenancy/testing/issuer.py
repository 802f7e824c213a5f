"""An identity provider on the loopback address, for tests.

It speaks HTTP as a real one does, and can do on command what a real one does rarely: change
its keys, and be down. Its paths and tokens are Logto's.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from orgtenancy.identity.jwks import RemoteKeys
from orgtenancy.testing.issuer_http import Answer, Call, LoopbackServer, error, form_of
from orgtenancy.testing.keys import Signer, key_set

_PREFIX = "urn:logto:organization:"


class LocalIssuer:
    """An issuer with discovery, a key set, and tokens for client credentials.

    It answers inside its `with` block. Threads and processes may use it at once.

    Args:
        algorithm: What it signs with.
        also: Algorithms for which it has a key besides; `sign` chooses.

    Attributes:
        url: Its base URL: `logto(issuer.url)` are the settings for its tokens.
        issuer: The `iss` of its tokens: `oidc(issuer.issuer, ...)` finds the rest.
        jwks_url: Where its key set is.
    """

    def __init__(self, algorithm: str = "ES384", *, also: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._signer = _new_signer(algorithm)
        self._others = {name: _new_signer(name) for name in also if name != algorithm}
        self._withdrawing: list[Signer] = []
        self._clients: dict[str, _Client] = {}
        self._requests: Counter[str] = Counter()
        self._down = False
        self._server = LoopbackServer(self._answer)
        self.url = self._server.url
        self.issuer = f"{self.url}/oidc"
        self.jwks_url = f"{self.issuer}/jwks"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()

    @property
    def signer(self) -> Signer:
        """The key that it signs with now; to sign what no issuer would."""
        return self._signer

    def keys(self, **options: Any) -> RemoteKeys:
        """Return its keys, fetched over HTTP; for the settings of any provider.

        Args:
            **options: Arguments of `RemoteKeys`.
        """
        return RemoteKeys(self.jwks_url, **options)

    def token(
        self,
        subject: str,
        *,
        organization: str | None = None,
        audience: str | None = None,
        scopes: Iterable[str] = (),
        lifetime: int = 3600,
        **claims: Any,
    ) -> str:
        """Return an access token as Logto makes it.

        Args:
            subject: The user's id.
            organization: The organization's id.
            audience: The API resource. Without one it is an organization token, whose
                audience is the organization.
            scopes: What it grants.
            lifetime: Seconds until it expires, from now.
            **claims: Other claims; one that is None is left out.

        Raises:
            ValueError: If it has neither an organization nor an audience.
        """
        if audience is None and organization is None:
            raise ValueError("a token is for an organization, for an audience, or for both")
        now = int(time.time())
        members = {
            "jti": secrets.token_urlsafe(16),
            "sub": subject,
            "iat": now,
            "exp": now + lifetime,
            "scope": " ".join(scopes) or None,
            "client_id": "local-app",
            "iss": self.issuer,
            "aud": audience if audience is not None else f"{_PREFIX}{organization}",
            "organization_id": organization if audience is not None else None,
            **claims,
        }
        return self.sign({name: value for name, value in members.items() if value is not None})

    def sign(
        self, claims: Mapping[str, Any], *, algorithm: str | None = None, **headers: Any
    ) -> str:
        """Return a token of these very claims.

        Args:
            claims: All of them.
            algorithm: One of those that it was made with; its first one if not given.
            **headers: Other headers; one that is None is left out.
        """
        return self._signer_for(algorithm).sign(claims, **headers)

    def rotate(
        self, algorithm: str | None = None, *, keep: bool = True, kid: str | None = None
    ) -> None:
        """Sign with a new key from now on.

        Args:
            algorithm: What the new key signs with; the same as before if not given.
            keep: Whether the key before stays in the key set: tokens it signed are good
                until they expire. Keys from further back leave the set.
            kid: The new key's id.
        """
        signer = _new_signer(algorithm or self._signer.algorithm, kid)
        with self._lock:
            self._withdrawing = [self._signer] if keep else []
            self._signer = signer

    def stop_answering(self) -> None:
        """Close each connection without an answer, from now on."""
        self._down = True

    def answer_again(self) -> None:
        """End the outage."""
        self._down = False

    def requests(self, path: str) -> int:
        """Return how many requests came for a path, those during an outage included."""
        with self._lock:
            return self._requests[path]

    def add_client(
        self,
        client_id: str,
        secret: str,
        scopes: Iterable[str] = (),
        *,
        organizations: Iterable[str] | None = None,
    ) -> None:
        """Let a machine ask for tokens with `grant_type=client_credentials`.

        Args:
            client_id: Its id, which is the subject of its tokens.
            secret: Its secret.
            scopes: What it may ask for.
            organizations: Those that it belongs to; None for all.
        """
        allowed = None if organizations is None else frozenset(organizations)
        self._clients[client_id] = _Client(client_id, secret, frozenset(scopes), allowed)

    def _signer_for(self, algorithm: str | None) -> Signer:
        with self._lock:
            if algorithm is None or algorithm == self._signer.algorithm:
                return self._signer
            return self._others[algorithm]

    def _answer(self, call: Call) -> Answer | None:
        with self._lock:
            self._requests[call.path] += 1
            signers = [self._signer, *self._withdrawing, *self._others.values()]
        if self._down:
            return None
        match call.method, call.path:
            case "GET", "/oidc/.well-known/openid-configuration":
                return Answer(200, self._discovery())
            case "GET", "/oidc/jwks":
                return Answer(200, key_set(*signers))
            case "POST", "/oidc/token":
                return self._exchange(call)
            case _:
                return Answer(404, {"error": "not_found"})

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "jwks_uri": self.jwks_url,
            "token_endpoint": f"{self.issuer}/token",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "id_token_signing_alg_values_supported": [self._signer.algorithm, *self._others],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
        }

    def _exchange(self, call: Call) -> Answer:
        """Answer a request for a token, as RFC 6749, section 4.4, says."""
        form = form_of(call)
        if form is None:
            return error(400, "invalid_request")
        client_id, secret = call.credentials or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        client = self._clients.get(client_id)
        if client is None or not secrets.compare_digest(client.secret.encode(), secret.encode()):
            return error(401, "invalid_client")
        if form.get("grant_type") != "client_credentials":
            return error(400, "unsupported_grant_type")
        organization, resource = form.get("organization_id"), form.get("resource")
        if organization is None and resource is None:
            return error(400, "invalid_target")
        if organization is not None and not client.belongs_to(organization):
            return error(400, "access_denied")
        # As Logto: what the client may not have is left out of the answer.
        scopes = [scope for scope in form.get("scope", "").split() if scope in client.scopes]
        token = self.token(
            client_id,
            organization=organization,
            audience=resource,
            scopes=scopes,
            client_id=client_id,
        )
        granted = {"scope": " ".join(scopes)} if scopes else {}
        return Answer(
            200,
            {"access_token": token, "expires_in": 3600, "token_type": "Bearer", **granted},
        )


class _Client:
    """A machine that may ask for tokens."""

    def __init__(
        self, client_id: str, secret: str, scopes: frozenset[str], allowed: frozenset[str] | None
    ) -> None:
        self.id = client_id
        self.secret = secret
        self.scopes = scopes
        self._allowed = allowed

    def belongs_to(self, organization: str) -> bool:
        """Return whether it may have a token for the organization."""
        return self._allowed is None or organization in self._allowed


def _new_signer(algorithm: str, kid: str | None = None) -> Signer:
    return Signer(kid if kid is not None else secrets.token_urlsafe(32), algorithm)
