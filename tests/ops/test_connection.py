"""Answers that come before the end of a request: the client gets them, whatever it still sends."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.ops import lingering, serving
from support.webhooks import Served, client_context, serve

MIB = 1024 * 1024
DECLARED = 8 * MIB
"""More than the webhooks take: they answer as soon as they have read the headers."""

START = b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
HEAD = START + f"Content-Length: {DECLARED}\r\n\r\n".encode()

Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as running:
        yield running


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never hang up because of time: this machine may be slow."""
    monkeypatch.setattr(lingering, "SECONDS", 3600.0)
    monkeypatch.setattr(lingering, "SILENCE_SECONDS", 3600.0)


async def connect(served: Served) -> Connected:
    return await asyncio.open_connection("127.0.0.1", served.port, ssl=client_context(served.authority))


async def refused(served: Served) -> Connected:
    """Return a connection whose request was answered before its body came."""
    reader, writer = await connect(served)
    writer.write(HEAD)
    assert await status_of(reader) == 413
    return reader, writer


async def status_of(reader: asyncio.StreamReader) -> int:
    """Read one answer."""
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    assert b"connection: close" in head.lower()
    return int(head.split()[1])


def send_all_then_read(port: int, context: ssl.SSLContext | None) -> bytes:
    """Do as the API server's HTTP client does at worst; runs in a thread."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        if context:
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname="127.0.0.1"))
        connection.sendall(HEAD)
        for _ in range(DECLARED // MIB):
            connection.sendall(b"x" * MIB)
        return connection.recv(65536)


async def test_a_client_that_reads_only_after_it_has_sent_all_gets_the_answer(
    served: Served, patience: None
) -> None:
    context = client_context(served.authority)
    received = await asyncio.to_thread(send_all_then_read, served.port, context)
    assert received.startswith(b"HTTP/1.1 413 ")


async def test_so_does_a_client_without_tls(patience: None) -> None:
    async with plainly(answer_early) as port:
        received = await asyncio.to_thread(send_all_then_read, port, None)
    assert received.startswith(b"HTTP/1.1 413 ")


async def test_without_tls_the_end_of_the_answer_is_told_at_once(patience: None) -> None:
    async with plainly(answer_early) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        assert (await asyncio.wait_for(reader.read(), 60)).endswith(b"too large")
        writer.close()


async def test_what_is_no_http_is_told_to_a_client_that_goes_on(served: Served, patience: None) -> None:
    reader, writer = await connect(served)
    writer.write(b"\0\0\0\r\n\r\n")
    for _ in range(4):
        writer.write(b"x" * MIB)
        await writer.drain()
    assert await status_of(reader) == 400
    writer.close()


async def test_a_body_that_turns_out_to_be_no_http_is_answered_once(served: Served, patience: None) -> None:
    reader, writer = await connect(served)
    writer.write(START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await writer.drain()
    writer.write(b"no number\r\n")
    assert await status_of(reader) == 400
    writer.close()
    assert await asyncio.wait_for(reader.read(), 60) == b"", "the webhook's own answer is not sent after it"


async def test_a_second_request_after_the_last_answer_is_not_served(served: Served, patience: None) -> None:
    reader, writer = await refused(served)
    writer.write(b"x" * DECLARED + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    await writer.drain()
    writer.close()
    assert await asyncio.wait_for(reader.read(), 60) == b""


@pytest.mark.parametrize("limit", ["SECONDS", "SILENCE_SECONDS"])
async def test_a_silent_client_is_hung_up_on(
    served: Served, patience: None, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(lingering, limit, 0.05)
    reader, writer = await refused(served)
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


@pytest.mark.parametrize(("limit", "value"), [("SECONDS", 0.05), ("BYTES", MIB)])
async def test_a_client_that_never_ends_is_hung_up_on(
    served: Served, patience: None, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(lingering, limit, value)
    context = client_context(served.authority)
    assert await asyncio.to_thread(send_until_hung_up_on, served.port, context) < 1024


def send_until_hung_up_on(port: int, context: ssl.SSLContext) -> int:
    """Return how many MiB were sent; runs in a thread."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(HEAD)
        for sent in range(1024):
            try:
                connection.sendall(b"x" * MIB)
            except OSError:
                return sent
    return 1024


async def test_the_end_of_the_server_is_not_held_up(
    tmp_path: Path, patience: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(tmp_path) as served:
        _, writer = await refused(served)
    assert not [one for one in caplog.records if "timeout graceful shutdown exceeded" in one.message]
    writer.transport.abort()


async def answer_early(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"9"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"too large"})


@asynccontextmanager
async def plainly(application: serving.Application) -> AsyncIterator[int]:
    """Serve without TLS, as metrics are."""
    bound = serving.bind("127.0.0.1", 0)
    async with serving.Listener(application, bound).serving():
        yield serving.port_of(bound)
