"""A TCP proxy on the loopback address that delays what passes it.

`python -m tests.benchmarks.latency ONE_WAY_SECONDS SOCKET` prints its port, and serves
until its standard input is closed. It runs as a process of its own, so that its CPU time
is neither the client's nor the server's.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

_CHUNK = 65_536


@contextmanager
def proxy(target: str, round_trip: float) -> Iterator[int]:
    """Run a proxy in a process of its own.

    Args:
        target: The path of the server's Unix socket, or `host:port`.
        round_trip: Seconds that it adds to each round trip.
    """
    command = [sys.executable, "-m", "tests.benchmarks.latency", str(round_trip / 2), target]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def _connect(target: str) -> socket.socket:
    if target.startswith("/"):
        server = socket.socket(socket.AF_UNIX)
        server.connect(target)
        return server
    host, _, port = target.rpartition(":")
    server = socket.create_connection((host, int(port)))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server


def _forward(source: socket.socket, target: socket.socket, delay: float) -> None:
    """Pass on what comes, each piece after the delay, in order."""
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def send() -> None:
        with suppress(OSError):
            while True:
                due, data = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    break
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    Thread(target=send, daemon=True).start()
    data = b"-"
    while data:
        try:
            data = source.recv(_CHUNK)
        except OSError:
            data = b""
        waiting.put((time.monotonic() + delay, data))


def _serve(listener: socket.socket, target: str, delay: float) -> None:
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = _connect(target)
        for ends in ((client, server), (server, client)):
            Thread(target=_forward, args=(*ends, delay), daemon=True).start()


def main() -> None:
    delay, target = float(sys.argv[1]), sys.argv[2]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        Thread(target=_serve, args=(listener, target, delay), daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
