"""What the client makes of an API server that misbehaves."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing

import pytest
from kubernetes_asyncio.client import Configuration

from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.connection import Connection
from kubedr_server.kube.resources import CONFIGMAPS, PODS
from kubedr_server.kube.transport import ClientSettings, Transport
from support.fake_api import FAST, FakeApi
from support.ports import free_port

pytestmark = pytest.mark.fault

IMPATIENT = ClientSettings(qps=0, request_timeout=0.3, connect_timeout=60)


class Sleeps:
    """A sleep that is over at once and remembers how long it would have been."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Requests:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.finished: list[tuple[str, str]] = []
        self.limited = 0

    def request_finished(self, method: str, host: str, code: str, seconds: float) -> None:
        self.finished.append((method, code))

    def request_limited(self, method: str, host: str, seconds: float) -> None:
        self.limited += 1


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Serve the same bytes to every request, keep its connection open, and give the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            writer.write(answer)
            await reader.read(-1)
        await writer.wait_closed()
        finished.set()

    finished = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await finished.wait()


def configmap(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}}


async def test_a_server_that_is_not_there_is_unreachable_and_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with Client(Transport(Connection(Configuration(host=url)), FAST)) as client:
        with pytest.raises(errors.Unreachable, match=f"GET /api/v1/namespaces/ns/configmaps/a at {url}"):
            await client.get(CONFIGMAPS, "ns", "a")


async def test_a_connection_that_is_closed_instead_of_an_answer_is_unreachable(
    fake: FakeApi, fake_client: Client
) -> None:
    fake.hang_up("POST", "configmaps")
    with pytest.raises(errors.Unreachable):
        await fake_client.create(CONFIGMAPS, configmap("a"))


async def test_a_server_that_accepts_and_never_answers_times_out() -> None:
    async with (
        answering(b"") as url,
        Client(Transport(Connection(Configuration(host=url)), IMPATIENT)) as client,
    ):
        with pytest.raises(errors.ServerTimeout, match=r"no answer within 0\.3 s"):
            await client.get(CONFIGMAPS, "ns", "a")


async def test_the_client_waits_as_long_as_it_is_asked_to_and_tries_again(fake: FakeApi) -> None:
    sleeps = Sleeps()
    fake.fail("POST", "configmaps", 429, "TooManyRequests", headers={"Retry-After": "2"}, times=2)
    transport = Transport(fake.connection(), ClientSettings(qps=0), sleep=sleeps, rng=random.Random(1))
    async with Client(transport) as client:
        await client.create(CONFIGMAPS, configmap("a"))
    assert fake.count("POST") == 3
    assert len(sleeps.slept) == 2
    assert all(2 <= seconds <= 3 for seconds in sleeps.slept)
    assert sleeps.slept[0] != sleeps.slept[1], (
        "clients that were refused together must not come back together"
    )


async def test_a_server_that_always_asks_to_wait_gets_a_bounded_number_of_requests(fake: FakeApi) -> None:
    fake.fail("GET", "configmaps", 429, "TooManyRequests", headers={"Retry-After": "1"}, times=1000)
    async with Client(
        Transport(fake.connection(), ClientSettings(qps=0, attempts=4), sleep=Sleeps())
    ) as client:
        with pytest.raises(errors.TooManyRequests) as raised:
            await client.get(CONFIGMAPS, "ns", "a")
    assert raised.value.retry_after == 1
    assert fake.count("GET") == 4


async def test_a_wait_of_minutes_is_left_to_the_caller(fake: FakeApi, fake_client: Client) -> None:
    fake.fail("GET", "configmaps", 429, "TooManyRequests", headers={"Retry-After": "600"})
    with pytest.raises(errors.TooManyRequests) as raised:
        await fake_client.get(CONFIGMAPS, "ns", "a")
    assert raised.value.retry_after == 600
    assert fake.count("GET") == 1


async def test_a_write_that_may_have_been_carried_out_is_not_repeated(fake: FakeApi) -> None:
    fake.fail("POST", "configmaps", 503, "ServiceUnavailable", headers={"Retry-After": "1"})
    async with Client(Transport(fake.connection(), ClientSettings(qps=0), sleep=Sleeps())) as client:
        with pytest.raises(errors.ServerError):
            await client.create(CONFIGMAPS, configmap("a"))
    assert fake.count("POST") == 1


async def test_the_client_keeps_to_its_own_limit(fake: FakeApi) -> None:
    sleeps, observer = Sleeps(), Requests()
    settings = ClientSettings(qps=10, burst=3)
    transport = Transport(fake.connection(), settings, sleep=sleeps, clock=lambda: 0.0, observer=observer)
    async with Client(transport) as client:
        for _ in range(5):
            await client.list(CONFIGMAPS)
    assert sleeps.slept == pytest.approx([0.1, 0.2])
    assert observer.limited == 2


async def test_each_request_is_counted_with_its_outcome(fake: FakeApi) -> None:
    observer = Requests()
    fake.hang_up("POST", "configmaps")
    async with Client(Transport(fake.connection(), FAST, observer=observer)) as client:
        with pytest.raises(errors.Unreachable):
            await client.create(CONFIGMAPS, configmap("a"))
        await client.create(CONFIGMAPS, configmap("a"))
        with pytest.raises(errors.NotFound):
            await client.get(CONFIGMAPS, "ns", "b")
    assert observer.finished == [("POST", "<error>"), ("POST", "201"), ("GET", "404")]


async def test_requests_say_who_asks(fake: FakeApi, fake_client: Client) -> None:
    await fake_client.list(CONFIGMAPS)
    assert fake.requests[0].headers["User-Agent"].startswith("kubedr/0.")


async def test_a_guard_that_refuses_keeps_every_write_from_being_sent(
    fake: FakeApi, fake_client: Client
) -> None:
    class NotAllowedError(Exception):
        pass

    def guard() -> None:
        raise NotAllowedError

    guarded = fake_client.guarded(guard)
    await guarded.list(CONFIGMAPS)
    writes = [
        guarded.create(CONFIGMAPS, configmap("a")),
        guarded.replace(CONFIGMAPS, configmap("a")),
        guarded.patch(CONFIGMAPS, "ns", "a", {}),
        guarded.apply(CONFIGMAPS, configmap("a"), field_manager="kubedr"),
        guarded.delete(CONFIGMAPS, "ns", "a"),
    ]
    for write in writes:
        with pytest.raises(NotAllowedError):
            await write
    assert [seen.method for seen in fake.requests] == ["GET"]


async def test_the_guard_is_asked_after_the_wait_for_the_limit(fake: FakeApi) -> None:
    class LostError(Exception):
        pass

    lost = False

    async def lose_while_waiting(_seconds: float) -> None:
        nonlocal lost
        lost = True

    def guard() -> None:
        if lost:
            raise LostError

    settings = ClientSettings(qps=1, burst=1)
    transport = Transport(fake.connection(), settings, sleep=lose_while_waiting, clock=lambda: 0.0)
    async with Client(transport) as client:
        guarded = client.guarded(guard)
        await guarded.create(CONFIGMAPS, configmap("a"))
        with pytest.raises(LostError):
            await guarded.create(CONFIGMAPS, configmap("b"))
    assert fake.count("POST") == 1


async def test_a_log_is_text(fake_client: Client) -> None:
    assert await fake_client.pod_log("ns", "pod", "kubedr-runner") == "a line of the log\n"


async def test_the_log_of_a_container_that_has_not_started_is_a_bad_request(
    fake: FakeApi, fake_client: Client
) -> None:
    fake.fail("GET", "/log", 400, "BadRequest", message='container "x" is waiting to start')
    with pytest.raises(errors.BadRequest, match="waiting to start"):
        await fake_client.pod_log("ns", "pod", "x")


@pytest.mark.parametrize("in_stream", [True, False])
async def test_a_version_that_is_forgotten_is_gone_in_the_stream_and_as_a_status(
    fake: FakeApi, fake_client: Client, in_stream: bool
) -> None:
    fake.gone_in_stream = in_stream
    await fake.forget_history()
    async with aclosing(fake_client.watch(PODS, resource_version="1")) as watch:
        with pytest.raises(errors.Gone, match="too old"):
            await anext(watch)


async def test_a_silent_watch_times_out(fake: FakeApi, fake_client: Client) -> None:
    fake.mute()
    async with aclosing(fake_client.watch(PODS, resource_version="100", inactivity_seconds=0.2)) as watch:
        with pytest.raises(errors.ServerTimeout, match=r"not a byte within 0\.2 s"):
            await anext(watch)


async def test_a_watch_whose_connection_breaks_is_unreachable(fake: FakeApi, fake_client: Client) -> None:
    async with aclosing(fake_client.watch(PODS, resource_version="100")) as watch:
        first = asyncio.ensure_future(anext(watch))
        await fake.watched()
        fake.cut_watches()
        with pytest.raises(errors.Unreachable):
            await first


async def test_an_event_larger_than_any_buffer_is_read(fake: FakeApi, fake_client: Client) -> None:
    large = {"metadata": {"namespace": "ns", "name": "large"}, "data": {"k": "x" * 6_000_000}}
    await fake.put("configmaps", large)
    async with aclosing(fake_client.watch(CONFIGMAPS, resource_version="100")) as watch:
        event = await anext(watch)
    assert len(event.object["data"]["k"]) == 6_000_000


async def test_an_answer_that_is_not_json_is_not_taken_for_an_object(
    fake_client: Client, fake: FakeApi
) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"
    async with (
        answering(page) as url,
        Client(Transport(Connection(Configuration(host=url)), FAST)) as client,
    ):
        with pytest.raises(errors.ServerError, match="is this an API server"):
            await client.get(CONFIGMAPS, "ns", "a")


async def test_credentials_are_read_again_when_they_are_refused(fake: FakeApi) -> None:
    fake.token = "new"
    loads = 0

    async def load() -> Configuration:
        nonlocal loads
        loads += 1
        fresh = Configuration(host=fake.url)
        fresh.api_key["BearerToken"] = "Bearer new"
        return fresh

    old = Configuration(host=fake.url)
    old.api_key["BearerToken"] = "Bearer old"
    now = 0.0
    connection = Connection(old, load, clock=lambda: now)
    now = 3600.0
    async with Client(Transport(connection, FAST)) as client:
        await client.list(CONFIGMAPS)
        await client.list(CONFIGMAPS)
    assert loads == 1
    assert [seen.headers["Authorization"] for seen in fake.requests] == [
        "Bearer old",
        "Bearer new",
        "Bearer new",
    ]


async def test_a_token_that_stays_refused_does_not_load_credentials_with_each_request(fake: FakeApi) -> None:
    fake.token = "right"
    loads = 0

    async def load() -> Configuration:
        nonlocal loads
        loads += 1
        fresh = Configuration(host=fake.url)
        fresh.api_key["BearerToken"] = "Bearer wrong"
        return fresh

    now = 0.0
    connection = Connection(await load(), load, clock=lambda: now)
    now, loads = 3600.0, 0
    async with Client(Transport(connection, FAST)) as client:
        for _ in range(5):
            with pytest.raises(errors.Unauthorized) as raised:
                await client.list(CONFIGMAPS)
            assert "wrong" not in str(raised.value)
    assert loads == 1
