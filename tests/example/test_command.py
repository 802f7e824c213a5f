"""`python -m examples.community`: it starts, says so, and leaves nothing behind."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from examples.community.people import all_texts
from examples.community.seed import rows_of
from orgtenancy.community import Post
from tests.example.demo import STOP_WITHIN, Demo, is_free, running
from tests.example.visiting import following, sign_in

pytestmark = pytest.mark.slow


def test_it_prints_one_line_and_answers(place: Path) -> None:
    with running(place=place) as demo:
        connection = http.client.HTTPConnection(demo.url.removeprefix("http://"), timeout=30)
        connection.request("GET", "/sign-in")
        assert connection.getresponse().status == 200
        connection.close()
        demo.stop(signal.SIGINT)
        assert demo.rest() == ("", "")
        assert demo.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_with_nothing_left_although_a_browser_is_connected(
    place: Path, number: signal.Signals
) -> None:
    with running(place=place) as demo:
        assert any(process.name() == "postgres" for process in demo.processes())
        browser = http.client.HTTPConnection(demo.url.removeprefix("http://"), timeout=30)
        browser.request("GET", "/sign-in", headers={"Connection": "keep-alive"})
        browser.getresponse().read()
        assert demo.stop(number) < STOP_WITHIN
        browser.close()
        assert demo.processes() == []
        assert is_free(demo.url)


def test_a_signal_ends_the_streams_of_news_quietly(place: Path) -> None:
    with running(place=place) as demo:
        with httpx.Client(base_url=demo.url, headers={"Origin": demo.url}) as browser:
            sign_in(browser, "Mateo Fuentes", "northwind")
            with following(browser) as heard:
                assert demo.stop(signal.SIGINT) < STOP_WITHIN
                assert list(heard) == []
        assert demo.rest() == ("", "")
        assert demo.process.returncode == 0
        assert demo.processes() == []


def test_a_second_signal_does_not_disturb_the_cleanup(place: Path) -> None:
    with running(place=place) as demo:
        seconds = demo.stop(signal.SIGINT, signal.SIGINT, signal.SIGTERM, gap=0.15)
        assert seconds < STOP_WITHIN
        assert demo.process.returncode == 0
        assert demo.processes() == []


@pytest.mark.parametrize("delay", [0.4, 0.8, 1.2, 1.6, 2.0])
def test_a_signal_while_it_starts_leaves_nothing_either(place: Path, delay: float) -> None:
    with Demo("--port", "0", place=place) as demo:
        time.sleep(delay)
        assert demo.stop(signal.SIGINT, signal.SIGTERM, gap=0.1) < STOP_WITHIN
        assert demo.processes() == []
        # Before its own handlers are in place, the signal ends the interpreter itself.
        assert demo.process.returncode in (0, -signal.SIGINT, -signal.SIGTERM)


def test_the_check_walks_through_the_app(place: Path) -> None:
    with running("--check", place=place) as demo:
        output, errors = demo.rest()
        assert demo.process.returncode == 0, errors
        assert "Northwind Climbing Club" in output
        assert "Harbor Street Bakery" in output
        assert "403" in output
        assert "404" in output
        assert demo.processes() == []


def test_kept_data_is_there_again_and_is_not_seeded_twice(place: Path) -> None:
    with running("--keep", str(place / "kept"), "--check", place=place) as demo:
        _, errors = demo.rest()
        assert demo.process.returncode == 0, errors
    with running("--keep", str(place / "kept"), place=place) as demo:
        with httpx.Client(base_url=demo.url, headers={"Origin": demo.url}) as browser:
            form = {"person": "demo|mateo.fuentes", "organization": "northwind"}
            browser.post("/sign-in", data=form)
            page = browser.get("/").text
        assert "Hello, rope!" in page
        number = len(rows_of(all_texts()[0], datetime.now(UTC))[Post])
        assert f"{number + 2} posts" in page  # and what the check wrote


def test_a_busy_port_is_said_before_anything_is_started(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Demo("--port", port, place=place) as demo:
            output, errors = demo.rest()
            assert demo.process.returncode == 2
            assert output == ""
            assert f"127.0.0.1:{port}" in errors
            assert "Traceback" not in errors
