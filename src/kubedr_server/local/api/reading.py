"""Get, list and watch."""

import asyncio
import base64
import json
import random
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
        if target.name:
            selector = ",".join(filter(None, (selector, f"metadata.name={target.name}")))
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


def too_old(asked: int, oldest: int) -> errors.APIError:
    """Return the 410 that a watch from a forgotten revision ends with."""
    return errors.expired(f"too old resource version: {asked} ({oldest})")


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
        if not text:
            return 0
        if not text.isdigit():
            raise errors.bad_request(f'resourceVersion: Invalid value: "{text}": must be a number')
        revision = int(text)
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
        limit = int(query.get("limit") or 0)
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
        if limit and len(entries) > limit:
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

    async def watch(self, target: Target, query: Mapping[str, str], view: View) -> AsyncIterator[bytes]:
        """Yield watch events as lines of JSON until the time is up."""
        store = self._engine.store
        selection = Selection.parse(target, query)
        text = query.get("resourceVersion", "")
        initial = text in ("", "0") or query.get("sendInitialEvents") == "true"
        bookmarks = query.get("allowWatchBookmarks") == "true"
        since = None if initial else int(text)
        seconds = int(query.get("timeoutSeconds") or 0) or self._rng.randint(1800, 3600)
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with store.subscribe(
                target.resource.qualified, target.namespace or None, since=since
            ) as changes:
                if initial:
                    for entry in store.list(target.resource.qualified, target.namespace):
                        if selection.matches(entry):
                            yield _line("ADDED", view.watched(entry))
                    if query.get("sendInitialEvents") == "true" and bookmarks:
                        yield _line("BOOKMARK", view.bookmark(store.revision, _INITIAL_EVENTS_END))
                async for line in self._follow(changes, selection, view, deadline, bookmarks):
                    yield line
        except CompactedError as error:
            yield _line("ERROR", encode(too_old(since or 0, error.oldest).status()))

    async def _follow(
        self, changes: Subscription, selection: Selection, view: View, deadline: float, bookmarks: bool
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while (now := loop.time()) < deadline:
            revision = self._engine.store.revision
            try:
                async with asyncio.timeout(min(BOOKMARK_SECONDS, deadline - now)):
                    change = await changes.next()
            except TimeoutError:
                if bookmarks:
                    yield _line("BOOKMARK", view.bookmark(revision))
                continue
            if change is None:
                return
            line = _event(change, selection, view)
            if line is not None:
                yield line


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
