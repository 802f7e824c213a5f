"""The issuer's keys: rotation, outages, and one request however many ask."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from orgtenancy.errors import ConfigurationError, IdentityProviderUnavailable, Unauthenticated
from orgtenancy.identity import RemoteKeys, TokenVerifier
from orgtenancy.identity.fetching import JsonFetcher
from tests.identity.signing import API, ISSUER, Signer, claims, key_set


class KeyServer:
    """A key set on 127.0.0.1 that rotates, fails, hangs, redirects, and counts."""

    def __init__(self) -> None:
        self.body = b"{}"
        self.status = 200
        self.open = threading.Event()
        self.open.set()
        self.location = ""
        self.announced = 0
        self.stopped = threading.Event()
        self.drip = False
        self.requests: list[float] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(time.monotonic())
                outer.open.wait(10)
                if outer.location and self.path == "/jwks":
                    self.send_response(302)
                    self.send_header("Location", outer.location)
                    self.send_header("Content-Length", str(outer.announced))
                    self.end_headers()
                    outer.stopped.wait(10 if outer.announced else 0)
                    return
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                try:
                    for part in outer.body if outer.drip else [outer.body]:
                        self.wfile.write(bytes([part]) if isinstance(part, int) else part)
                        if outer.drip:
                            time.sleep(0.05)
                except ConnectionError:
                    pass

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def publish(self, *signers: Signer) -> None:
        self.body = json.dumps(key_set(*signers)).encode()

    def stop(self) -> None:
        self.open.set()
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """What `RemoteKeys` fetches, without a network."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = signers
        self.down = False
        self.fetches = 0

    def __call__(self) -> object:
        self.fetches += 1
        if self.down:
            raise ConnectionRefusedError("down")
        return key_set(*self.signers)


OLD, NEW, NEXT = Signer("old"), Signer("new"), Signer("next", "RS256")


@pytest.fixture
def server() -> Iterator[KeyServer]:
    server = KeyServer()
    server.publish(OLD)
    yield server
    server.stop()


@pytest.fixture(params=["sync", "async"])
def find(request: pytest.FixtureRequest) -> Callable[[RemoteKeys, Signer], str | None]:
    if request.param == "sync":
        return lambda keys, signer: keys.find(signer.kid, signer.algorithm).kid
    return lambda keys, signer: asyncio.run(keys.find_async(signer.kid, signer.algorithm)).kid


Find = Callable[[RemoteKeys, Signer], str | None]


def test_keys_are_fetched_over_http_and_verify_tokens(server: KeyServer) -> None:
    rsa_without_alg = {"keys": [OLD.jwk(), NEXT.jwk(alg=None)]}
    server.body = json.dumps(rsa_without_alg).encode()
    verifier = TokenVerifier(ISSUER, RemoteKeys(server.url), audiences=[API])
    assert verifier.verify(OLD.sign(claims()))
    assert asyncio.run(verifier.verify_async(NEXT.sign(claims())))
    assert len(server.requests) == 1


def test_a_rotation_is_followed_at_the_first_unknown_key(find: Find) -> None:
    issuer, clock = Issuer(OLD), Clock()
    keys = RemoteKeys("https://issuer.example", fetch=issuer, clock=clock)
    assert find(keys, OLD) == "old"
    clock.now += 6
    issuer.signers = (NEW, OLD)
    assert find(keys, NEW) == "new"
    assert find(keys, OLD) == "old"
    assert issuer.fetches == 2


def test_invented_key_ids_cost_one_request_per_cooldown(find: Find) -> None:
    issuer, clock = Issuer(OLD), Clock()
    keys = RemoteKeys("https://issuer.example", fetch=issuer, clock=clock, cooldown=5)
    for number in range(20):
        with pytest.raises(Unauthenticated):
            find(keys, Signer(f"invented-{number}", key=OLD.key))
        clock.now += 0.5
    # At 0, 5 and within 10 seconds no third one.
    assert issuer.fetches == 2


def test_known_keys_stay_good_while_the_issuer_is_down(find: Find) -> None:
    issuer, clock = Issuer(OLD), Clock()
    keys = RemoteKeys("https://issuer.example", fetch=issuer, clock=clock, max_stale=3_600)
    assert find(keys, OLD) == "old"
    issuer.down = True
    clock.now += 3_599
    assert find(keys, OLD) == "old"
    with pytest.raises(IdentityProviderUnavailable):
        find(keys, NEW)
    clock.now += 2
    with pytest.raises(IdentityProviderUnavailable) as unavailable:
        find(keys, OLD)
    assert 1 <= unavailable.value.retry_after <= 5
    issuer.down = False
    clock.now += 6
    assert find(keys, OLD) == "old"


def test_a_key_that_was_withdrawn_is_refused_after_the_maximum_age(find: Find) -> None:
    issuer, clock = Issuer(OLD), Clock()
    keys = RemoteKeys("https://issuer.example", fetch=issuer, clock=clock, max_age=60)
    assert find(keys, OLD) == "old"
    issuer.signers = (NEW,)
    clock.now += 61
    find(keys, OLD)  # served from what is known, while the set is fetched
    wait_until(lambda: issuer.fetches == 2)
    with pytest.raises(Unauthenticated):
        wait_until(lambda: find(keys, OLD) is None)


class SlowIssuer:
    """Answers the fetches when the test says so, in any order."""

    def __init__(self) -> None:
        self.answers: list[Future[object]] = []

    def __call__(self) -> object:
        answer: Future[object] = Future()
        self.answers.append(answer)
        return answer.result(20)


def asked_again(keys: RemoteKeys, issuer: SlowIssuer, clock: Clock) -> threading.Thread:
    """Ask for a key, and return when the fetch has begun; the clock is past the last one."""
    clock.now += 11
    before = len(issuer.answers)

    def ask() -> None:
        with suppress(IdentityProviderUnavailable, Unauthenticated):
            keys.find("asked", "ES384")

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: len(issuer.answers) > before)
    return thread


def test_an_answer_that_comes_late_replaces_no_newer_one() -> None:
    issuer, clock = SlowIssuer(), Clock()
    keys = RemoteKeys("https://issuer.example", fetch=issuer, clock=clock, timeout=5)
    threads = [asked_again(keys, issuer, clock) for _ in range(2)]
    issuer.answers[1].set_result(key_set(NEW))
    threads[1].join(20)
    issuer.answers[0].set_result(key_set(OLD))
    threads[0].join(20)
    assert keys.find("new", "ES384").kid == "new"
    with pytest.raises(Unauthenticated):
        keys.find("old", "ES384")


def test_an_issuer_that_hangs_holds_no_more_than_three_threads(find: Find) -> None:
    issuer, clock = SlowIssuer(), Clock()
    keys = RemoteKeys("https://issuer.example", fetch=issuer, clock=clock, timeout=5)
    threads = [asked_again(keys, issuer, clock) for _ in range(3)]
    clock.now += 11
    with pytest.raises(IdentityProviderUnavailable):
        find(keys, NEW)  # at once: nobody is asked
    assert len(issuer.answers) == 3
    issuer.answers[0].set_result(key_set(NEW))
    wait_until(lambda: keys._known("new", "ES384") is not None)
    for answer in issuer.answers[1:]:
        answer.set_result({})
    for thread in threads:
        thread.join(20)
    assert find(keys, NEW) == "new"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": []}', b"\xff", b"<html>"])
def test_an_answer_that_is_no_key_set_does_not_replace_the_keys(
    server: KeyServer, body: bytes
) -> None:
    clock = Clock()
    keys = RemoteKeys(server.url, clock=clock)
    assert keys.find("old", "ES384").kid == "old"
    server.body = body
    clock.now += 10
    with pytest.raises(IdentityProviderUnavailable):
        keys.find("new", "ES384")
    assert keys.find("old", "ES384").kid == "old"


def test_the_event_loop_goes_on_while_keys_are_fetched(server: KeyServer) -> None:
    server.open.clear()

    async def main() -> str | None:
        fetch = asyncio.create_task(RemoteKeys(server.url).find_async("old", "ES384"))
        await until(lambda: len(server.requests) == 1)
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert not fetch.done()
        server.open.set()
        return (await fetch).kid

    assert asyncio.run(main()) == "old"


def test_tasks_and_threads_wait_for_one_fetch_and_a_cancelled_one_takes_none_along(
    server: KeyServer,
) -> None:
    server.open.clear()
    keys = RemoteKeys(server.url)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(keys.find_async("old", "ES384")) for _ in range(200)]
        await until(lambda: len(server.requests) == 1)
        await asyncio.sleep(0.01)  # all of them wait now
        tasks[0].cancel()
        await asyncio.sleep(0.01)
        server.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with ThreadPoolExecutor(16) as threads:
        from_threads = [threads.submit(keys.find, "old", "ES384") for _ in range(16)]
        first, *others = asyncio.run(main())
        assert all(future.result().kid == "old" for future in from_threads)
    assert isinstance(first, asyncio.CancelledError)
    assert {key.kid for key in others} == {"old"}
    assert len(server.requests) == 1


@pytest.mark.slow
def test_two_rotations_and_an_outage_under_load_refuse_no_valid_token(server: KeyServer) -> None:
    cooldown = 0.4
    keys = RemoteKeys(server.url, cooldown=cooldown, max_age=0.6, timeout=2)
    verifier = TokenVerifier(ISSUER, keys, audiences=[API])
    tokens = {signer.kid: signer.sign(claims()) for signer in (OLD, NEW, NEXT)}
    served, refused = 0, 0
    current = OLD

    async def client(stop: asyncio.Event) -> None:
        nonlocal served, refused
        while not stop.is_set():
            try:
                await verifier.verify_async(tokens[current.kid])
                served += 1
            except Unauthenticated:
                refused += 1
            await asyncio.sleep(0.01)

    async def main() -> None:
        nonlocal current
        stop = asyncio.Event()
        await verifier.verify_async(tokens["old"])
        clients = [asyncio.create_task(client(stop)) for _ in range(20)]
        await asyncio.sleep(cooldown)
        for signer in (NEW, NEXT):
            # As issuers do it: the key is published, and used once caches had their time.
            server.publish(signer, current)
            await asyncio.sleep(1.2)
            current = signer
            await asyncio.sleep(0.2)
        server.status = 503
        await asyncio.sleep(1)
        server.status = 200
        stop.set()
        await asyncio.gather(*clients)

    asyncio.run(main())
    elapsed = server.requests[-1] - server.requests[0]
    assert refused == 0
    assert served > 500
    assert len(server.requests) <= elapsed / cooldown + 1.5
    assert len(server.requests) >= 4


def test_a_key_in_use_before_it_was_seen_is_found_at_once(server: KeyServer) -> None:
    verifier = TokenVerifier(ISSUER, RemoteKeys(server.url, cooldown=0.2), audiences=[API])

    async def main() -> None:
        await verifier.verify_async(OLD.sign(claims()))
        await asyncio.sleep(0.25)
        server.publish(NEW)
        token = NEW.sign(claims())
        await asyncio.gather(*(verifier.verify_async(token) for _ in range(100)))

    asyncio.run(main())
    assert len(server.requests) == 2


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/jwks", "/jwks", "http://"])
def test_only_http_urls_are_fetched(url: str) -> None:
    with pytest.raises(ConfigurationError):
        RemoteKeys(url)


@pytest.mark.parametrize("location", ["http://localhost:{port}/other", "file:///etc/passwd"])
def test_no_redirect_leads_elsewhere(server: KeyServer, location: str) -> None:
    server.location = location.format(port=server.url.split(":")[2].split("/")[0])
    with pytest.raises(OSError, match=r"redirect|302"):
        JsonFetcher(server.url)()
    assert len(server.requests) == 1


def test_a_redirect_on_the_same_host_is_followed(server: KeyServer) -> None:
    server.location = server.url.replace("/jwks", "/moved")
    assert JsonFetcher(server.url)()["keys"]


def test_the_body_of_a_redirect_is_not_read(server: KeyServer) -> None:
    server.location = server.url.replace("/jwks", "/moved")
    server.announced = 1_000_000  # and never sent
    assert JsonFetcher(server.url, timeout=2)()["keys"]


def test_a_body_that_is_too_large_is_not_read_to_its_end(server: KeyServer) -> None:
    server.body = b" " * 2_000_000
    with pytest.raises(ValueError, match="bytes"):
        JsonFetcher(server.url)()


def test_an_answer_that_drips_ends_at_the_timeout(server: KeyServer) -> None:
    server.drip = True
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        JsonFetcher(server.url, timeout=0.3)()
    assert time.monotonic() - begin < 3


def test_an_http_error_is_an_error(server: KeyServer) -> None:
    server.status = 500
    with pytest.raises(OSError, match="500"):
        JsonFetcher(server.url)()


def test_http_beyond_this_machine_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    JsonFetcher("http://issuer.example/jwks")
    assert "without TLS" in caplog.text


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - threads change it
            await asyncio.sleep(0.005)
