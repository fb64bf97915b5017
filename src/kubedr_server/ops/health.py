"""Whether this process is alive, and whether it should be sent requests.

Alive: the event loop turns; then it answers at all. Ready: it can be called as the API server calls it,
over TLS, with a certificate that is valid now. Whether caches are full or this replica leads makes
no difference: the webhooks need neither.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime

from kubedr_server.ops.tls import Certificate

Check = Callable[[], Awaitable[str | None]]
"""Returns what is wrong, or None."""


class Health:
    """Collects what readiness depends on."""

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Make readiness depend on a check."""
        self._checks[name] = check

    async def problems(self) -> list[str]:
        """Return why the process is not ready; empty if it is."""
        if self.draining:
            return ["shutting down"]
        found = []
        for name, check in self._checks.items():
            if problem := await check():
                found.append(f"{name}: {problem}")
        return found


async def call_self(
    host: str, port: int, certificate: Certificate | None, now: datetime, *, patience: float = 2.0
) -> str | None:
    """Call our own webhook port over TLS; returns what is wrong, or None."""
    if certificate is None:
        return "there is no certificate yet"
    if not certificate.is_valid(now):
        return (
            f"the certificate has expired at {certificate.not_after:%Y-%m-%d %H:%M} UTC, or is not valid yet"
        )
    # The certificate is compared as a whole: it is made for the Service's name, not for this address.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(_reachable(host), port, ssl=context)
            try:
                connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
                if connection.getpeercert(binary_form=True) != certificate.der:
                    return "another certificate is served than the one that was loaded"
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: self\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
                await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        return f"calling ourselves over TLS failed ({type(error).__name__})"
    return None if b" 200 " in status else f"calling ourselves over TLS was answered {status[:64]!r}"


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a name, nothing is bound
