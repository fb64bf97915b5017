"""Get, list and watch."""

import asyncio
import base64
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from kubedr_server.local.api import errors
from kubedr_server.local.api.context import Engine
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.paths import Target
from kubedr_server.local.api.selectors import Matcher, exact_name, parse_fields, parse_labels
from kubedr_server.local.api.storage import Change, CompactedError, Entry, Subscription, encode
from kubedr_server.local.api.views import View

BOOKMARK_SECONDS = 60.0
_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


@dataclass(frozen=True)
class Selection:
    """Which objects of a resource a list or watch is about."""

    labels: Matcher | None
    fields: Matcher | None
    name: str | None

    @classmethod
    def parse(cls, target: Target, query: Mapping[str, str]) -> "Selection":
        """Read the selectors. Raises APIError(400)."""
        selector = query.get("fieldSelector", "")
        return cls(
            parse_labels(query.get("labelSelector", "")),
            parse_fields(selector, target.resource),
            exact_name(selector),
        )

    def matches(self, entry: Entry | None) -> bool:
        """Whether an object is selected."""
        if entry is None or (self.name is not None and entry.key.name != self.name):
            return False
        if self.labels is not None and not self.labels(entry.object["metadata"].get("labels") or {}):
            return False
        return self.fields is None or self.fields(entry.object)


@dataclass(frozen=True)
class _Watch:
    """What a watch asks for.

    It begins with what is there where `since` is 0, and with `initial` whatever `since` says. `deadline` is a
    time of the event loop.
    """

    selection: Selection
    since: int
    initial: bool
    bookmarks: bool
    deadline: float


class Reader:
    """Answers reads from memory."""

    def __init__(self, engine: Engine, rng: random.Random) -> None:
        self._engine = engine
        self._rng = rng

    def get(self, target: Target, query: Mapping[str, str]) -> Entry:
        """Return one object. Raises APIError(404)."""
        self._check_revision(query.get("resourceVersion", ""))
        entry = self._engine.store.get(Key(target.resource.qualified, target.namespace, target.name))
        if entry is None:
            raise errors.not_found(target.resource, target.name)
        return entry

    def _check_revision(self, text: str) -> int:
        revision = _revision(text)
        if revision > self._engine.store.revision:
            details = {
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
            }
            message = (
                f"Timeout: Too large resource version: {revision}, current: {self._engine.store.revision}"
            )
            raise errors.APIError(504, "Timeout", message, details, retry_after=1)
        return revision

    def list(self, target: Target, query: Mapping[str, str], view: View) -> bytes:
        """Return a list, or the next page of one."""
        selection = Selection.parse(target, query)
        _check_match(query)
        limit = _integer(query, "limit")
        token = query.get("continue", "")
        asked = self._check_revision(query.get("resourceVersion", ""))
        revision, after = self._engine.store.revision, ""
        if token:
            revision, after = self._read_token(token)
        elif query.get("resourceVersionMatch") == "Exact" and asked != revision:
            raise errors.expired("The resourceVersion for the provided list is too old.")
        entries = [
            entry
            for entry in self._engine.store.list(target.resource.qualified, target.namespace)
            if selection.matches(entry) and (not after or _position(entry) > after)
        ]
        meta: dict[str, object] = {"resourceVersion": str(revision)}
        if 0 < limit < len(entries):
            rest = len(entries) - limit
            entries = entries[:limit]
            meta["continue"] = _token(revision, _position(entries[-1]))
            if selection.labels is None and selection.fields is None:
                meta["remainingItemCount"] = rest
        return view.listed(entries, meta)

    def _read_token(self, token: str) -> tuple[int, str]:
        try:
            read = json.loads(base64.urlsafe_b64decode(token))
            revision, after = int(read["rv"]), str(read["start"])
        except (ValueError, KeyError, TypeError):
            raise errors.bad_request("continue key is not valid: it was not given by this server") from None
        if revision < self._engine.store.oldest - 1:
            raise errors.expired(
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter."
            )
        return revision, after

    def watch(self, target: Target, query: Mapping[str, str], view: View) -> AsyncIterator[bytes]:
        """Return watch events as lines of JSON, until the time is up. Raises APIError(400)."""
        seconds = _integer(query, "timeoutSeconds") or self._rng.randint(1800, 3600)
        asked = _Watch(
            Selection.parse(target, query),
            since=_revision(query.get("resourceVersion", "")),
            initial=query.get("sendInitialEvents") == "true",
            bookmarks=query.get("allowWatchBookmarks") == "true",
            deadline=asyncio.get_running_loop().time() + seconds,
        )
        return self._watched(target, asked, view)

    async def _watched(self, target: Target, asked: _Watch, view: View) -> AsyncIterator[bytes]:
        store = self._engine.store
        since = None if asked.initial else asked.since or None
        try:
            async with store.subscribe(
                target.resource.qualified, target.namespace or None, since=since
            ) as changes:
                if since is None:
                    for entry in store.list(target.resource.qualified, target.namespace):
                        if asked.selection.matches(entry):
                            yield _line("ADDED", view.watched(entry))
                    if asked.initial and asked.bookmarks:
                        yield _line("BOOKMARK", view.bookmark(store.revision, _INITIAL_EVENTS_END))
                async for line in self._follow(changes, asked, view):
                    yield line
        except CompactedError as error:
            gone = errors.expired(f"too old resource version: {asked.since} ({error.oldest})")
            yield _line("ERROR", encode(gone.status()))

    async def _follow(self, changes: Subscription, asked: _Watch, view: View) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while (now := loop.time()) < asked.deadline:
            revision = self._engine.store.revision
            try:
                async with asyncio.timeout(min(BOOKMARK_SECONDS, asked.deadline - now)):
                    change = await changes.next()
            except TimeoutError:
                if asked.bookmarks:
                    yield _line("BOOKMARK", view.bookmark(revision))
                continue
            if change is None:
                return
            line = _event(change, asked.selection, view)
            if line is not None:
                yield line


def _integer(query: Mapping[str, str], name: str) -> int:
    """Read a number of the query; 0 if it is not given. Raises APIError(400)."""
    text = query.get(name) or "0"
    if re.fullmatch(r"[-+]?[0-9]+", text) is None:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _revision(text: str) -> int:
    if re.fullmatch("[0-9]*", text) is None:
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise errors.bad_request(f'invalid resource version: resourceVersion: Invalid value: "{text}": {why}')
    return int(text or 0)


def _check_match(query: Mapping[str, str]) -> None:
    """Refuse a list's `resourceVersionMatch` that makes no sense. Raises APIError(422)."""
    field = "resourceVersionMatch"
    match, revision = query.get(field, ""), query.get("resourceVersion", "")
    if not match:
        return
    if not revision:
        mistake = errors.forbidden(field, f"{field} is forbidden unless resourceVersion is provided")
    elif query.get("continue"):
        mistake = errors.forbidden(field, f"{field} is forbidden when continue is provided")
    elif match not in ("Exact", "NotOlderThan"):
        mistake = errors.unsupported(field, match, ["Exact", "NotOlderThan", ""])
    elif match == "Exact" and revision == "0":
        mistake = errors.forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"')
    else:
        return
    raise errors.options_invalid("ListOptions", mistake)


def _event(change: Change, selection: Selection, view: View) -> bytes | None:
    """Return what a change looks like to a watcher with selectors: leaving a selection is a deletion."""
    now = change.type != "DELETED" and selection.matches(change.entry)
    before = change.previous is not None and selection.matches(change.previous)
    if now:
        return _line("MODIFIED" if before else "ADDED", view.watched(change.entry))
    if before and change.type == "DELETED":
        return _line("DELETED", view.watched(change.entry))
    if before and change.previous is not None:
        left = change.previous.copy()
        left["metadata"]["resourceVersion"] = str(change.revision)
        return _line("DELETED", view.watched(Entry(change.entry.key, change.revision, encode(left))))
    return None


def _line(kind: str, obj: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + obj + b"}\n"


def _position(entry: Entry) -> str:
    return f"{entry.key.namespace}\0{entry.key.name}"


def _token(revision: int, start: str) -> str:
    read = {"v": "meta.k8s.io/v1", "rv": revision, "start": start}
    return base64.urlsafe_b64encode(json.dumps(read).encode()).decode()
