"""Sends large reviews one after the other until standard input ends; prints how long each took.

It is a process of its own: to encrypt megabytes would hold up the generator of the small ones.
"""

import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

from benchmarks.reviews import large

_PIECE = 64 * 1024


def main(port: int, authority: Path) -> None:
    """Send until told to end."""
    context = ssl.create_default_context(cafile=str(authority))
    wire = large().call(port, spaced=False).wire
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    seconds: list[float] = []
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        while not ended.is_set():
            began = time.perf_counter()
            for start in range(0, len(wire), _PIECE):
                connection.sendall(wire[start : start + _PIECE])
            _read_answer(connection)
            seconds.append(time.perf_counter() - began)
            if len(seconds) == 1:
                print("sending", flush=True)  # noqa: T201 - read by the benchmark
    print(json.dumps(seconds), flush=True)  # noqa: T201 - read by the benchmark


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _read_answer(connection: ssl.SSLSocket) -> None:
    received = b""
    while True:
        data = connection.recv(65536)
        if not data:
            raise SystemExit("the server closed the connection")
        received += data
        head, end, body = received.partition(b"\r\n\r\n")
        if not end:
            continue
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"a large review was refused: {head[:200]!r}")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) >= length:
            if b'"allowed":true' not in body.replace(b" ", b""):
                raise SystemExit(f"a large review was refused: {body[:400]!r}")
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
