"""One HTTP request to the API server: credentials, limits, time-outs, metrics, and errors by type.

JSON goes in and bytes come out: nothing is turned into the client library's model classes,
which would cost more than all the rest of a reconcile.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import aiohttp

from kubedr_server.kube import errors
from kubedr_server.kube.connection import Connection
from kubedr_server.kube.http import http_client
from kubedr_server.kube.limits import TokenBucket

READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class ClientSettings:
    """How the client behaves towards the API server. Times are in seconds."""

    qps: float = 50.0
    """Requests a second on average; 0 is no limit."""

    burst: int = 100
    """Requests that may be made at once after a quiet time."""

    request_timeout: float = 30.0
    """For one request, from connecting to the last byte. Watches have their own."""

    connect_timeout: float = 10.0
    """For the TCP and TLS handshake."""

    attempts: int = 4
    """How often in all a request is made while the answer is 429 (or, to reads, 503) with Retry-After."""

    max_retry_after: float = 30.0
    """A longer Retry-After is not slept through but raised as TooManyRequests."""

    user_agent: str = field(default_factory=lambda: f"kubedr/{version('kubedr-server')}")


class RequestObserver(Protocol):
    """Told about each finished request and each wait for the client's own limit."""

    def request_finished(self, method: str, host: str, code: str, seconds: float) -> None:
        """Count a request. `code` is the HTTP status, or `<error>` if no answer came."""

    def request_limited(self, method: str, host: str, seconds: float) -> None:
        """Count the `seconds` that a request waited for the client's own rate limit."""


@dataclass(frozen=True)
class _Call:
    """One request, before credentials."""

    method: str
    path: str
    limits: aiohttp.ClientTimeout
    query: Mapping[str, Any] | None = None
    body: Any = None
    content_type: str = "application/json"
    accept: str = "application/json"
    guard: Callable[[], None] | None = None


class Transport:
    """The connections to one API server. Close it when done; made inside a running event loop."""

    def __init__(
        self,
        connection: Connection,
        settings: ClientSettings | None = None,
        *,
        observer: RequestObserver | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        http: Any = None,
    ) -> None:
        """`http` is what sends the requests, if it is not to be kubernetes-asyncio's client."""
        self.settings = settings or ClientSettings()
        self._connection = connection
        self._observer = observer
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._clock = clock
        self._sleep = sleep
        self._bucket = TokenBucket(self.settings.qps, self.settings.burst, clock=clock, sleep=sleep)
        try:
            self._http: Any = http or http_client(connection.configuration)
        except (OSError, ValueError) as error:
            raise errors.ConfigurationError(
                f"the certificates for {connection.server} cannot be used: {error}"
            ) from None

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._connection.server

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        guard: Callable[[], None] | None = None,
    ) -> bytes:
        """Make one request and return the answer's body. Raises KubeError.

        `guard` is called right before the request is sent, after all waiting; what it raises goes through.
        """
        limits = aiohttp.ClientTimeout(
            total=self.settings.request_timeout,
            connect=self.settings.connect_timeout,
            sock_connect=self.settings.connect_timeout,
        )
        call = _Call(method, path, limits, query, body, content_type, accept, guard)
        for attempt in range(1, self.settings.attempts + 1):
            try:
                async with self._answer(call) as response:
                    return await response.read()
            except errors.KubeError as error:
                if attempt == self.settings.attempts or not self._worth_waiting(method, error):
                    raise
                # All clients are told the same number: spread them.
                await self._sleep((error.retry_after or 0.0) * (1 + self._rng.random() / 2))
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        accept: str = "application/json",
        inactivity: float,
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Open an answer that has no end, and give its lines. Raises KubeError, on opening and while reading.

        After `inactivity` seconds without a byte it raises ServerTimeout: the peer of a half-open
        TCP connection is silent for ever.
        """
        limits = aiohttp.ClientTimeout(
            total=None,
            connect=self.settings.connect_timeout,
            sock_connect=self.settings.connect_timeout,
            sock_read=inactivity,
        )
        async with (
            self._answer(_Call("GET", path, limits, query, accept=accept)) as response,
            aclosing(_lines(response.content)) as lines,
        ):
            yield lines

    @asynccontextmanager
    async def _answer(self, call: _Call) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send the request, once more if the credentials had to be renewed; raise what is no success."""
        request = errors.Request(call.method, call.path, self.server)
        with _as_kube_errors(request, call.limits):
            token = await self._connection.authorization()
            response = await self._send(call, token)
            if response.status == 401 and await self._connection.renew(token):
                response.close()
                response = await self._send(call, await self._connection.authorization())
            try:
                if response.status >= 400:
                    raise errors.from_response(
                        response.status,
                        await response.read(),
                        request=request,
                        retry_after=_retry_after(response.headers.get("Retry-After")),
                    )
                yield response
            finally:
                # Not release(): a watch that is left early must not be read to its end.
                response.close()

    async def _send(self, call: _Call, token: str | None) -> aiohttp.ClientResponse:
        host = self.server.partition("://")[2]
        waited = await self._bucket.wait()
        if waited and self._observer:
            self._observer.request_limited(call.method, host, waited)
        headers = {
            "Accept": call.accept,
            "Content-Type": call.content_type,
            "User-Agent": self.settings.user_agent,
        }
        if token:
            headers["Authorization"] = token
        if call.guard is not None:
            call.guard()
        started, code = self._clock(), "<error>"
        try:
            response: aiohttp.ClientResponse = await self._http.request(
                call.method,
                self.server + call.path,
                query_params=_query(call.query),
                headers=headers,
                body=call.body,
                _preload_content=False,
                _request_timeout=call.limits,
            )
            code = str(response.status)
        finally:
            if self._observer:
                self._observer.request_finished(call.method, host, code, self._clock() - started)
        return response

    def _worth_waiting(self, method: str, error: errors.KubeError) -> bool:
        # 429 says that nothing was done. 503 does not, so a write is left to the caller.
        asked = error.status == 429 or (error.status == 503 and method in READS)
        return asked and error.retry_after is not None and error.retry_after <= self.settings.max_retry_after


class _as_kube_errors:  # noqa: N801 - used as a function, `with _as_kube_errors(...):`
    """Turn what aiohttp and the system raise into our errors."""

    def __init__(self, request: errors.Request, limits: aiohttp.ClientTimeout) -> None:
        self._request = request
        self._limits = limits

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        """Raise the error of ours that `error` stands for, if it is one of those."""
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            raise errors.Unreachable(
                f"no connection within {self._limits.sock_connect:g} s", request=self._request
            ) from error
        if isinstance(error, TimeoutError):
            limit = self._limits.total or self._limits.sock_read or 0
            what = "no answer" if self._limits.total else "not a byte"
            raise errors.ServerTimeout(f"{what} within {limit:g} s", request=self._request) from error
        if isinstance(error, aiohttp.ClientError | OSError):
            raise errors.Unreachable(str(error) or type(error).__name__, request=self._request) from error


def _query(query: Mapping[str, Any] | None) -> dict[str, str] | None:
    if not query:
        return None
    given = {name: value for name, value in query.items() if value is not None}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()
    }


def _retry_after(value: str | None) -> float | None:
    # Kubernetes sends seconds; the HTTP date, which proxies may send, is left to the caller's own backoff.
    return float(value) if value is not None and value.isdecimal() else None


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    # Not readline(): that refuses lines longer than its buffer, and an object may be longer.
    pending = bytearray()
    async for chunk in content.iter_any():
        pending += chunk
        if b"\n" not in chunk:
            continue
        *lines, rest = bytes(pending).split(b"\n")
        pending = bytearray(rest)
        for line in lines:
            if line.strip():
                yield line
    if pending.strip():
        # The connection was cut in the middle of an event: its rest never comes.
        try:
            json.loads(pending)
        except ValueError:
            return
        yield bytes(pending)
