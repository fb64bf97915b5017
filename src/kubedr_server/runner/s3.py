"""Signed requests to the bucket, made by the runner itself.

restic retries a refused key, a missing bucket or an unknown certificate authority for about fifteen
minutes. So the runner asks first: one listing with short timeouts and no retries tells in a second what is
wrong. The same few requests heal what a killed run can leave behind (leftovers.py).

Only the request's signature is botocore's. Its client would also look for profiles, `AWS_*` variables and
an instance's own credentials; nothing but the keys of the Secret may ever be used here.
"""

import asyncio
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ConnectionClosedError
from botocore.httpsession import URLLib3Session

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.s3_errors import not_an_answer, not_reached, refused
from kubedr_server.runner.settings import RepositorySettings, StorageKeys

DEFAULT_REGION = "us-east-1"
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 15.0
_BUSY_PAUSES = (1.0, 2.0)
_SYSTEM_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
"""Where restic (Go) looks for the system's authorities, so that both judge an endpoint alike."""


@dataclass(frozen=True)
class Location:
    """Where in an S3 service a repository is. `prefix` has no slash at its ends."""

    endpoint: str
    bucket: str
    prefix: str

    def key(self, name: str) -> str:
        """Return the object's key for a name in the repository."""
        return f"{self.prefix}/{name}" if self.prefix else name


@dataclass(frozen=True)
class StoredObject:
    """An object of the repository. `name` is its key below the prefix."""

    name: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Listing:
    """Some of a repository's objects, in the keys' order, and what the storage's clock said."""

    objects: tuple[StoredObject, ...]
    complete: bool
    storage_time: datetime
    next_token: str | None = None
    """Where the next listing goes on, if this one is not complete."""


def parse_location(url: str) -> Location | None:
    """Read a restic repository's name; None if it is not on S3 at all."""
    scheme, _, rest = url.partition(":")
    if scheme != "s3":
        return None
    rest = rest.removeprefix("//")
    if "://" not in rest:
        rest = f"https://{rest}"
    parts = urlsplit(rest)
    bucket, _, prefix = parts.path.strip("/").partition("/")
    if not parts.netloc or not bucket:
        raise RunFailureError(
            Reason.SETTING_MISSING,
            f"The repository '{url}' names no host or no bucket: it has to be like "
            "s3:https://s3.example.com/bucket/prefix.",
        )
    return Location(f"{parts.scheme}://{parts.netloc}", bucket, prefix.strip("/"))


class Bucket:
    """A bucket, seen from a repository's prefix. Each method raises RunFailureError with its reason."""

    def __init__(self, location: Location, settings: RepositorySettings) -> None:
        self.location = location
        self._keys: StorageKeys = settings.keys
        self._region_given = settings.region is not None
        self._region = settings.region or DEFAULT_REGION
        self._verify: bool | str = _authorities(settings)
        self._proxies = {} if settings.proxy is None else dict.fromkeys(("http", "https"), settings.proxy)

    async def list(self, folder: str = "", limit: int = 1000) -> Listing:
        """Return up to `limit` (1000 at most) objects whose names begin with `folder`."""
        response = await self._request("GET", "", self._listing(folder, limit))
        return _parse_listing(self.location, response, self._base)

    async def walk(self, folder: str = "") -> AsyncIterator[StoredObject]:
        """Give all objects whose names begin with `folder`, a thousand a request."""
        query = self._listing(folder, 1000)
        while True:
            response = await self._request("GET", "", query)
            listing = _parse_listing(self.location, response, self._base)
            for item in listing.objects:
                yield item
            if listing.complete:
                return
            if not listing.next_token:
                raise not_an_answer(self.location.endpoint)
            query["continuation-token"] = listing.next_token

    async def get(self, name: str) -> bytes:
        """Return an object's bytes."""
        return bytes((await self._request("GET", name)).content)

    async def put(self, name: str, body: bytes) -> None:
        """Write an object."""
        await self._request("PUT", name, body=body)

    async def delete(self, name: str) -> None:
        """Delete an object; it is no failure if it is gone already."""
        await self._request("DELETE", name)

    @property
    def _base(self) -> str:
        return self.location.key("") if self.location.prefix else ""

    def _listing(self, folder: str, limit: int) -> dict[str, str]:
        query = {"list-type": "2", "max-keys": str(limit)}
        if self._base or folder:
            query["prefix"] = self._base + folder
        return query

    async def _request(
        self, method: str, name: str, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AWSResponse:
        """Make a request, again where it can help; follows the storage's word on the region.

        A storage that is busy gets a little time, and so does one that breaks a connection off: each request
        here can be made twice.

        It runs in a thread, with timeouts for each step: cancelled, it gives up at once, and the thread
        ends by itself within those timeouts.
        """
        pauses = iter(_BUSY_PAUSES)
        while True:
            try:
                response = await asyncio.to_thread(self._send, method, name, query or {}, body)
            except ConnectionClosedError as error:
                pause = next(pauses, None)
                if pause is None:
                    raise not_reached(self.location.endpoint, error) from None
                await asyncio.sleep(pause)
                continue
            if response.status_code < 300:
                return response
            if not self._region_given and (region := _right_region(response)) not in (None, self._region):
                self._region = str(region)
                continue
            pause = next(pauses, None)
            if response.status_code not in (429, 500, 502, 503, 504) or pause is None:
                raise refused(self.location.endpoint, self.location.bucket, response, method)
            await asyncio.sleep(pause)

    def _send(self, method: str, name: str, query: Mapping[str, str], body: bytes) -> AWSResponse:
        path = f"/{self.location.bucket}"
        if name:
            path += f"/{self.location.key(name)}"
        request = AWSRequest(
            method=method,
            url=self.location.endpoint + quote(path, safe="/-_.~"),
            params=dict(query),
            data=body,
        )
        credentials = Credentials(self._keys.access_key, self._keys.secret_key)
        session = URLLib3Session(
            verify=self._verify,
            # Never the pod's own proxy variables.
            proxies=self._proxies,
            timeout=(_CONNECT_SECONDS, _READ_SECONDS),
            max_pool_connections=1,
        )
        try:
            S3SigV4Auth(credentials, "s3", self._region).add_auth(request)
            response: AWSResponse = session.send(request.prepare())
            _ = response.content
        except ConnectionClosedError:
            raise
        except BotoCoreError as error:
            raise not_reached(self.location.endpoint, error) from None
        finally:
            session.close()
        return response


def _authorities(settings: RepositorySettings) -> bool | str:
    if settings.insecure:
        return False
    if settings.ca_file is not None:
        return str(settings.ca_file)
    return next((path for path in _SYSTEM_CA_FILES if Path(path).is_file()), True)


def _parse_listing(location: Location, response: AWSResponse, base: str) -> Listing:
    try:
        # expat, which Python brings, refuses entity bombs since 2.4.1; the answer is the storage's own.
        root = ElementTree.fromstring(response.content)  # noqa: S314
        namespace = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
        objects = tuple(
            StoredObject(
                name=item.findtext(f"{namespace}Key", "").removeprefix(base),
                size=int(item.findtext(f"{namespace}Size", "0")),
                modified=_iso_time(item.findtext(f"{namespace}LastModified", "")),
            )
            for item in root.iterfind(f"{namespace}Contents")
        )
        # A web page can be well-formed, too: without this field it is no listing.
        complete = {"false": True, "true": False}[root.findtext(f"{namespace}IsTruncated", "")]
        time = parsedate_to_datetime(response.headers["Date"])
    except (ElementTree.ParseError, ValueError, KeyError, TypeError):
        raise not_an_answer(location.endpoint) from None
    return Listing(objects, complete, time, root.findtext(f"{namespace}NextContinuationToken"))


def _iso_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _right_region(response: AWSResponse) -> str | None:
    """Return the region that AWS says the bucket is in, when a request was signed for another."""
    if response.status_code not in (301, 307, 400, 403):
        return None
    if header := response.headers.get("x-amz-bucket-region"):
        return str(header)
    match = re.search(rb"<Region>([a-z0-9-]{1,64})</Region>", response.content)
    return match[1].decode() if match else None
