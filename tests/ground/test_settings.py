"""Settings, from arguments and the environment."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest
from pydantic import SecretStr, ValidationError

from orgtenancy import Settings, Tenancy

FROM_ENVIRONMENT = {
    "isolation": ("search_path", "search_path"),
    "login_secret": ("s" * 32, SecretStr("s" * 32)),
    "login_pools": ("3", 3),
    "login_pool_size": ("1", 1),
    "pool_size": ("7", 7),
    "max_overflow": ("0", 0),
    "pool_timeout": ("0.5", 0.5),
    "connect_timeout": ("3", 3),
    "organizations_per_connection": ("50", 50),
    "prepared_statements": ("10", 10),
    "prepare_threshold": ("none", None),
    "one_flush": ("false", False),
    "refuse_session_state": ("true", True),
    "hide_parameters": ("false", False),
    "registry_max_age": ("1.5", 1.5),
    "listen": ("false", False),
    "extensions_schema": ("extensions", "extensions"),
    "drop_batch_size": ("2", 2),
    "archive_grace": ("P90D", timedelta(days=90)),
    "lifecycle_lock_timeout": ("2.5", 2.5),
    "fence_timeout": ("3", 3.0),
    "membership_max_age": ("5", 5.0),
    "inbox_retention": ("P14D", timedelta(days=14)),
    "max_attempts": ("1", 1),
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ORGTENANCY_{name.upper()}", raising=False)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_can_be_given_in_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, value = FROM_ENVIRONMENT[name]
    monkeypatch.setenv(f"ORGTENANCY_{name.upper()}", text)
    assert getattr(Settings(), name) == value
    assert Settings.model_fields[name].default != value  # or the line above proves nothing


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGTENANCY_POOL_SIZE", "7")
    assert Settings(pool_size=3).pool_size == 3


def test_a_tenancy_reads_the_environment_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGTENANCY_POOL_SIZE", "7")
    assert Tenancy("postgresql://app@db/app").settings.pool_size == 7
    assert (
        Tenancy("postgresql://app@db/app", settings=Settings(pool_size=2)).settings.pool_size == 2
    )


def test_a_variable_without_the_prefix_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_SIZE", "7")
    assert Settings().pool_size == 5


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="pool_siez"):
        Settings.model_validate({"pool_siez": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pool_size", 0),
        ("max_overflow", -1),
        ("pool_timeout", 0),
        ("connect_timeout", 0),
        ("organizations_per_connection", 0),
        ("prepare_threshold", -1),
        ("registry_max_age", 0),
        ("registry_max_age", "soon"),
        ("drop_batch_size", 0),
        ("max_attempts", 0),
        ("listen", "perhaps"),
    ],
)
def test_a_value_that_cannot_work_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_level_login_needs_a_secret_and_keeps_it_out_of_the_repr() -> None:
    with pytest.raises(ValidationError, match="needs a login_secret"):
        Settings.model_validate({"isolation": "login"})
    with pytest.raises(ValidationError, match="at least 32"):
        Settings.model_validate({"isolation": "login", "login_secret": "short"})
    secret = "correct horse battery staple correct horse"
    assert secret not in repr(Settings.model_validate({"login_secret": secret}))


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.pool_size = 9  # type: ignore[misc]


def test_every_setting_is_described_where_it_is_defined() -> None:
    documentation = inspect.cleandoc(Settings.__doc__ or "")  # Python 3.13 does it by itself
    assert all(f"    {name}: " in documentation for name in Settings.model_fields)
