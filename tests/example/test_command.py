"""`python -m examples.community`: it starts, says so, and leaves nothing behind."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.example.demo import STOP_WITHIN, Demo, is_free, running

pytestmark = pytest.mark.slow


def test_it_prints_one_line_and_answers() -> None:
    with running() as demo:
        connection = http.client.HTTPConnection(demo.url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/sign-in")
        assert connection.getresponse().status == 200
        connection.close()
        demo.stop(signal.SIGINT)
        assert demo.rest() == ("", "")
        assert demo.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_with_nothing_left_although_a_browser_is_connected(
    number: signal.Signals,
) -> None:
    with running() as demo:
        assert any(process.name() == "postgres" for process in demo.processes())
        browser = http.client.HTTPConnection(demo.url.removeprefix("http://"), timeout=10)
        browser.request("GET", "/sign-in", headers={"Connection": "keep-alive"})
        browser.getresponse().read()
        assert demo.stop(number) < STOP_WITHIN
        browser.close()
        assert demo.processes() == []
        assert is_free(demo.url)


def test_a_second_signal_does_not_disturb_the_cleanup() -> None:
    with running() as demo:
        seconds = demo.stop(signal.SIGINT, signal.SIGINT, signal.SIGTERM, gap=0.15)
        assert seconds < STOP_WITHIN
        assert demo.processes() == []


@pytest.mark.parametrize("delay", [0.9, 1.3, 1.8, 2.4])
def test_a_signal_while_it_starts_leaves_nothing_either(delay: float) -> None:
    with Demo("--port", "0") as demo:
        time.sleep(delay)
        assert demo.stop(signal.SIGINT, signal.SIGTERM, gap=0.3) < STOP_WITHIN
        assert demo.processes() == []


def test_the_check_walks_through_the_app() -> None:
    with running("--check") as demo:
        output, errors = demo.rest()
        assert demo.process.returncode == 0, errors
        assert "Northwind Climbing Club" in output
        assert "Harbor Street Bakery" in output
        assert "403" in output
        assert "404" in output
        assert demo.processes() == []


def test_kept_data_is_there_again_and_is_not_seeded_twice(tmp_path: Path) -> None:
    for _ in range(2):
        with running("--keep", str(tmp_path / "kept"), "--check") as demo:
            _, errors = demo.rest()
            assert demo.process.returncode == 0, errors


def test_a_busy_port_is_said_before_anything_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Demo("--port", port) as demo:
            output, errors = demo.rest()
            assert demo.process.returncode == 2
            assert output == ""
            assert f"127.0.0.1:{port}" in errors
            assert "Traceback" not in errors
