"""Strategies for Hypothesis: organization ids, requests, and who takes which step when.

Hypothesis is the host's own; nothing else of the library imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from orgtenancy.identity import RequestInfo
from orgtenancy.naming import MAX_ID_LENGTH
from orgtenancy.testing.tokens import SHAPES, shape

T = TypeVar("T")

_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_HEADER_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)

#: Headers by which clients try to be somebody else; a drawn request may have them.
TEMPTING_HEADERS = ("x-organization-id", "x-tenant-id", "x-forwarded-host", "x-user-id", "cookie")


@dataclass(frozen=True, slots=True)
class InvalidId:
    """What is no organization id.

    Attributes:
        value: What was given; not always a text.
        rule: The rule that it breaks, as `InvalidOrganizationId` says it.
    """

    value: Any
    rule: str


@dataclass(frozen=True, slots=True)
class DrawnRequest:
    """A request, and what it says of itself.

    Attributes:
        info: What a resolver sees of it.
        organization: The organization of its token, or None.
        subject: Who the token is for, or None without a token.
        provider: Whose shape the token has, or None without one.
    """

    info: RequestInfo
    organization: str | None
    subject: str | None
    provider: str | None


class Sign(Protocol):
    """Signs claims: `LocalIssuer.sign` is one."""

    def __call__(self, claims: Mapping[str, Any], /, *, algorithm: str, typ: str) -> str:
        """Return the token."""
        ...


def organization_ids() -> SearchStrategy[str]:
    """Ids that follow the rules: of every length, and as identity providers make them."""
    text = st.text(alphabet=_ALNUM + "_-", max_size=MAX_ID_LENGTH - 1)
    longest = st.text(alphabet=_ALNUM, min_size=MAX_ID_LENGTH, max_size=MAX_ID_LENGTH)
    known = sorted({form.organization for form in SHAPES.values()})
    return st.one_of(
        st.builds("{}{}".format, st.sampled_from(_ALNUM), text), longest, st.sampled_from(known)
    )


def invalid_organization_ids() -> SearchStrategy[InvalidId]:
    """What breaks one rule for ids, with the rule."""
    anything = st.characters(exclude_characters=_ALNUM + "_-", exclude_categories=["Cs"])
    start = st.one_of(st.sampled_from("_-"), anything)
    short = st.text(alphabet=_ALNUM + "_-", max_size=20)
    return st.one_of(
        st.just(InvalidId("", "it must not be empty")),
        st.builds(
            lambda value: InvalidId(value, "it must be a str"),
            st.one_of(st.none(), st.integers(), st.binary(max_size=10), st.booleans()),
        ),
        st.builds(
            lambda value: InvalidId(value, f"the limit is {MAX_ID_LENGTH}"),
            st.text(alphabet=_ALNUM, min_size=MAX_ID_LENGTH + 1, max_size=2 * MAX_ID_LENGTH),
        ),
        st.builds(lambda first, rest: InvalidId(first + rest, "it must start with"), start, short),
        st.builds(
            lambda head, before, wrong, after: InvalidId(
                head + before + wrong + after, "only A-Z, a-z, 0-9, '_' and '-' are allowed"
            ),
            st.sampled_from(_ALNUM),
            short,
            anything,
            short,
        ),
    )


@st.composite
def requests(
    draw: st.DrawFn,
    *,
    sign: Sign | None = None,
    providers: Sequence[str] = tuple(SHAPES),
    organizations: SearchStrategy[str] | None = None,
    subjects: SearchStrategy[str] | None = None,
    scopes: SearchStrategy[Sequence[str]] | None = None,
    paths: SearchStrategy[str] | None = None,
) -> DrawnRequest:
    """Requests: a method, a path, headers, and a token of a provider's shape, or none.

    Args:
        draw: Hypothesis's own.
        sign: Signs the tokens, such as `LocalIssuer.sign`; without it no request has one.
        providers: Whose shapes the tokens have, of `SHAPES`.
        organizations: Whose tokens they are; `organization_ids()` if not given.
        subjects: Who they are for.
        scopes: What they grant.
        paths: The paths; of any segments if not given.
    """
    segments = st.lists(st.text(alphabet=_ALNUM + "_-.~%", min_size=1, max_size=12), max_size=4)
    if organizations is None:
        organizations = organization_ids()
    if subjects is None:
        subjects = st.sampled_from(["alice", "bob"])
    if scopes is None:
        scopes = st.just(())
    if paths is None:
        paths = segments.map(lambda parts: "/" + "/".join(parts))
    headers = {
        name: [value]
        for name, value in draw(
            st.dictionaries(st.sampled_from(TEMPTING_HEADERS), _HEADER_VALUES, max_size=3)
        ).items()
    }
    organization = subject = provider = None
    if sign is not None and draw(st.booleans()):
        provider = draw(st.sampled_from(providers))
        organization = draw(st.one_of(st.none(), organizations))
        subject = draw(subjects)
        claims = shape(
            provider,
            organization=organization,
            subject=subject,
            scopes=draw(scopes),
        )
        form = SHAPES[provider]
        token = sign(claims, algorithm=form.algorithm, typ=form.token_type)
        headers["authorization"] = [f"Bearer {token}"]
    info = RequestInfo(method=draw(st.sampled_from(_METHODS)), path=draw(paths), headers=headers)
    return DrawnRequest(info, organization, subject, provider)


@st.composite
def schedules(draw: st.DrawFn, *scripts: Sequence[T]) -> list[tuple[int, T]]:
    """Orders in which clients take steps: each its own in their order, in between the others'.

    Args:
        draw: Hypothesis's own.
        *scripts: The steps of each client.

    Returns:
        The number of a client, and its step; as often as there are steps.
    """
    turns = [number for number, script in enumerate(scripts) for _ in script]
    left = [iter(script) for script in scripts]
    return [(number, next(left[number])) for number in draw(st.permutations(turns))]
