"""URLs of S3 services and etcd members: strict, because lenient parsers disagree on the rest."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL
)
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")
_HOST: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*\.?"
)
_PORT: Final = re.compile(r"[0-9]{1,5}")
MAX_HOST: Final = 253
_IPV6_WORDS: Final = "must name a host: an IPv6 address stands in brackets, as in [2001:db8::1]"


class URLError(ValueError):
    """The URL cannot be used; the message says what to change and holds no part of it."""


@dataclass(frozen=True)
class Endpoint:
    """A scheme, a host and a port: all that a service's URL may hold here. `port` is None if not given."""

    scheme: str
    host: str
    port: int | None


def parse(text: str, schemes: tuple[str, ...], example: str) -> Endpoint:
    """Read a URL that names a service and nothing below it; raises URLError."""
    if _UNSAFE.search(text):
        raise URLError("must not contain spaces, control characters or any that a URL has to escape")
    match = _URL.fullmatch(text)
    if not match or match["scheme"] not in schemes:
        raise URLError(
            f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}, as in {example}"
        )
    authority, rest = match["authority"], match["rest"]
    if "@" in authority:
        raise URLError("must not contain a user name or password: credentials belong in a Secret")
    if rest.startswith("?") or "?" in rest:
        raise URLError("must not have a query ('?…')")
    if "#" in rest:
        raise URLError("must not have a fragment ('#…')")
    if rest not in ("", "/"):
        raise URLError(f"must not have a path: only scheme, host and port, as in {example}")
    return Endpoint(match["scheme"], *_parse_authority(authority))


def _parse_authority(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, bracket, after = authority[1:].partition("]")
        if not bracket or (after and not after.startswith(":")) or not _is_ip(host, ipaddress.IPv6Address):
            raise URLError(_IPV6_WORDS)
        port = after[1:] if after else None
    else:
        if authority.count(":") > 1:
            raise URLError(_IPV6_WORDS)
        host, colon, after = authority.partition(":")
        port = after if colon else None
        if not host:
            raise URLError("must name a host")
        if not _HOST.fullmatch(host) or len(host) > MAX_HOST:
            raise URLError("must name a host: a DNS name, an IPv4 address, or an IPv6 address in brackets")
        if re.fullmatch(r"[0-9.]+", host) and not _is_ip(host, ipaddress.IPv4Address):
            raise URLError("must name a host: its IPv4 address is not valid")
    if port is None:
        return host, None
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise URLError("must have a port from 1 to 65535")
    return host, int(port)


def _is_ip(text: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return "%" not in text
