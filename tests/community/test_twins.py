"""Every repository has its async twin, method by method."""

from __future__ import annotations

import inspect

import pytest

from orgtenancy import community
from orgtenancy.repository import (
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

REPOSITORIES = [
    value
    for value in vars(community).values()
    if isinstance(value, type) and issubclass(value, OrganizationAwareRepository)
]
# Shared by both bases by other means, or meant for the bodies of methods.
NOT_AWAITED = {"with_session", "session", "model", "select_page"}


def public_names(repository: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(repository) if not name.startswith("_")}


def test_the_repositories_are_found() -> None:
    assert {r.__name__ for r in REPOSITORIES} >= {
        "UserProfileRepository",
        "PostRepository",
        "PostLikeRepository",
        "PostCommentRepository",
    }


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda r: r.__name__)
def test_every_public_method_has_its_async_twin(
    repository: type[OrganizationAwareRepository[community.Post]],
) -> None:
    twin = getattr(community, f"Async{repository.__name__}")
    assert issubclass(twin, AsyncOrganizationAwareRepository)
    assert twin.sync is repository
    expected = public_names(repository) - NOT_AWAITED
    assert public_names(twin) - NOT_AWAITED - {"sync"} == expected
    for name in expected:
        bridge = inspect.getattr_static(twin, name)
        assert isinstance(bridge, awaitable), name
        assert bridge.method is getattr(repository, name), f"{name} awaits another method"
        assert inspect.iscoroutinefunction(getattr(twin(), name)), name
        assert getattr(twin(), name).__doc__ == getattr(repository, name).__doc__
