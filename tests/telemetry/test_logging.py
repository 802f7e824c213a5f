"""A log record says whose work it is about."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener

import pytest

from orgtenancy import Actor, Organization, acting
from orgtenancy.context import bind, organization_var
from orgtenancy.errors import ConfigurationError
from orgtenancy.telemetry.logging import ContextFilter, install_log_context

FORMAT = "%(organization_id)s|%(actor_id)s|%(scopes)s|%(origin)s|%(message)s"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACME = Organization(
    id="acme", name="Acme", schema_name="org_acme", role_name="r", created_at=NOW, updated_at=NOW
)
ANN = Actor(id="ann", scopes=frozenset({"write", "read"}), claims={"email": "ann@example.com"})


class Lines(logging.Handler):
    """Keeps what it would have printed."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logger_with(*handlers: logging.Handler) -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.telemetry")
    logger.handlers[:] = handlers
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture
def lines() -> Lines:
    lines = Lines()
    install_log_context(lines)
    return lines


def test_a_record_has_the_context_of_who_logs(lines: Lines) -> None:
    with logger_with(lines) as logger:
        logger.info("before")
        with bind(organization_var, ACME), acting(ANN, "http:203.0.113.7"):
            logger.info("inside")
            logger.getChild("deeper").info("of a descendant")
        with acting("bob", "cli:bob@host"):
            logger.info("without scopes")
    assert lines.lines == [
        "-|-|-|python|before",
        "acme|ann|read write|http:203.0.113.7|inside",
        "acme|ann|read write|http:203.0.113.7|of a descendant",
        "-|bob|-|cli:bob@host|without scopes",
    ]


def test_what_a_record_has_already_is_left_as_it_is(lines: Lines) -> None:
    with logger_with(lines) as logger, acting(ANN, "python"):
        logger.info("done", extra={"organization_id": "globex"})
    assert lines.lines == ["globex|ann|read write|python|done"]


def test_a_name_with_a_line_break_is_no_record_of_its_own(lines: Lines) -> None:
    forger = Actor(id="ann\nacme|root", scopes=frozenset({"a\r\nb"}))
    with logger_with(lines) as logger, acting(forger, "http\u2028x"):
        logger.info("done")
    assert lines.lines == [r"-|ann\nacme|root|a\r\nb|http\u2028x|done"]


def test_a_queue_carries_the_context_to_another_thread(lines: Lines) -> None:
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(waiting)  # type: ignore[arg-type, unused-ignore]
    install_log_context(handler)
    listener = QueueListener(waiting, lines)  # type: ignore[arg-type, unused-ignore]
    listener.start()
    with logger_with(handler) as logger, bind(organization_var, ACME), acting(ANN, "python"):
        logger.info("queued")
    listener.stop()
    assert lines.lines == ["acme|ann|read write|python|queued"]


def test_it_is_installed_on_all_handlers_of_a_logger_and_once() -> None:
    first, second = Lines(), Lines()
    with logger_with(first, second) as logger:
        install_log_context(logger)
        install_log_context(logger)
        logger.info("done")
    assert [handler.lines for handler in (first, second)] == [["-|-|-|python|done"]] * 2
    assert [len(handler.filters) for handler in (first, second)] == [1, 1]


def test_without_a_target_it_is_installed_on_the_root_logger() -> None:
    root, lines = logging.getLogger(), Lines()
    known = list(root.handlers)
    try:
        root.handlers[:] = [lines]
        install_log_context()
        logging.getLogger("tests.telemetry.root").warning("done")
    finally:
        root.handlers[:] = known
    assert lines.lines == ["-|-|-|python|done"]


def test_a_logger_without_a_handler_is_refused() -> None:
    with logger_with() as logger, pytest.raises(ConfigurationError, match="has no handler yet"):
        install_log_context(logger)


def test_the_filter_lets_every_record_pass() -> None:
    record = logging.makeLogRecord({"msg": "done"})
    assert ContextFilter().filter(record) is True
