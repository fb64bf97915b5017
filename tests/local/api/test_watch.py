"""Watching: from the beginning, from a version, through selectors, in tables; and when it is too late."""

from typing import Any

import pytest

from support.api_requests import MERGE, Requests, Server

Object = dict[str, Any]


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets"


def secret(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}}


def told(event: Object) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def test_a_watch_from_a_version_tells_what_came_after_it(requests: Requests, path: str) -> None:
    requests("POST", path, secret("before"))
    version = requests("GET", path).json["metadata"]["resourceVersion"]
    requests("POST", path, secret("after"))
    requests("PATCH", f"{path}/after", {"data": {"a": ""}}, kind=MERGE)
    requests("DELETE", f"{path}/after")
    with requests.watch(path, resourceVersion=version, timeoutSeconds="60") as events:
        assert [told(next(events)) for _ in range(3)] == [
            ("ADDED", "after"), ("MODIFIED", "after"), ("DELETED", "after"),
        ]  # fmt: skip


def test_a_watch_without_a_version_begins_with_what_is_there(requests: Requests, path: str) -> None:
    requests("POST", path, secret("one"))
    with requests.watch(path, timeoutSeconds="60") as events:
        assert told(next(events)) == ("ADDED", "one")
        requests("POST", path, secret("two"))
        assert told(next(events)) == ("ADDED", "two")


def test_initial_events_end_with_a_bookmark(requests: Requests, path: str) -> None:
    requests("POST", path, secret("one"))
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "60"}
    with requests.watch(path, resourceVersionMatch="NotOlderThan", **query) as events:
        assert told(next(events)) == ("ADDED", "one")
        bookmark = next(events)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) > 0


def test_what_leaves_a_selection_is_told_as_deleted(requests: Requests, path: str) -> None:
    requests("POST", path, secret("one", x="1"))
    version = requests("GET", path).json["metadata"]["resourceVersion"]
    with requests.watch(path, resourceVersion=version, labelSelector="x=1", timeoutSeconds="60") as events:
        requests("PATCH", f"{path}/one", {"metadata": {"labels": {"x": "2"}}}, kind=MERGE)
        requests("PATCH", f"{path}/one", {"data": {"a": ""}}, kind=MERGE)
        requests("PATCH", f"{path}/one", {"metadata": {"labels": {"x": "1"}}}, kind=MERGE)
        left, back = next(events), next(events)
    assert told(left) == ("DELETED", "one")
    assert left["object"]["metadata"]["labels"] == {"x": "1"}, "as it was when it was still selected"
    assert told(back) == ("ADDED", "one")


def test_one_object_can_be_watched_by_name(requests: Requests, path: str) -> None:
    requests("POST", path, secret("one"))
    with requests.watch(path, fieldSelector="metadata.name=two", timeoutSeconds="60") as events:
        requests("POST", path, secret("two"))
        assert told(next(events)) == ("ADDED", "two")


def test_a_watch_ends_when_its_time_is_up(requests: Requests, path: str) -> None:
    with requests.watch(path, timeoutSeconds="1") as events:
        assert list(events) == []


def test_a_version_that_was_compacted_is_gone(embedded: Server) -> None:
    requests = embedded.requests
    namespace = requests.new_namespace("compacted")
    path = f"/api/v1/namespaces/{namespace}/secrets"
    version = requests("GET", path).json["metadata"]["resourceVersion"]
    requests("POST", path, secret("one"))
    assert embedded.embedded is not None
    embedded.embedded.store.compact()
    with requests.watch(path, resourceVersion=version, timeoutSeconds="60") as events:
        event = next(events)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert event["object"]["message"].startswith(f"too old resource version: {version} (")


def test_a_version_of_the_future_is_not_waited_for(embedded: Server) -> None:
    with embedded.requests.watch("/api/v1/secrets", resourceVersion="99999999") as events:
        assert next(events)["object"]["code"] == 410
    reply = embedded.requests("GET", "/api/v1/secrets", resourceVersion="99999999")
    assert (reply.status, reply.json["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")
