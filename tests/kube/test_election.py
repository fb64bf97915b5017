import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.election import ElectionSettings, LeaderElector, LeadershipLost
from kubedr_server.kube.resources import CONFIGMAPS, LEASES
from support.eventually import eventually
from support.fake_api import FakeApi

SECONDS = 60
"""How long is waited for what takes milliseconds."""

LASTING = ElectionSettings(lease_duration=600, renew_deadline=400, retry_period=60)
"""A machine that stands still for some seconds loses no lease of these."""


class Time:
    """A clock that nothing but sleeping moves, and that at once. After `sleeps` of them nobody wakes."""

    def __init__(self, sleeps: int = 1000) -> None:
        self.now = 0.0
        self.sleeps = sleeps

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps -= 1
        if self.sleeps <= 0:
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def soon(_seconds: float) -> None:
    """Sleep for less than is asked for."""
    await asyncio.sleep(0.02)


class Candidate:
    """A server that wants to lead; it knows when it began to and ended. Its time is real unless given."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        identity: str,
        settings: ElectionSettings = LASTING,
        time: Time | None = None,
    ) -> None:
        self.ahead = 0.0  # seconds by which this process's clock jumped, as after a pause
        self.elector = LeaderElector(
            client,
            namespace,
            "kubedr",
            identity,
            settings=settings,
            rng=random.Random(identity),
            clock=time or (lambda: asyncio.get_running_loop().time() + self.ahead),
            sleep=time.sleep if time else soon,
        )
        self.lead_began = asyncio.Event()
        self.lead_ended = asyncio.Event()
        self.client = client.guarded(self.elector.check)
        self.task = asyncio.create_task(self.elector.run(self._lead))

    async def _lead(self) -> None:
        self.lead_began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.lead_ended.set()

    async def leads(self) -> None:
        """Wait until it leads."""
        await asyncio.wait_for(self.lead_began.wait(), SECONDS)

    async def loses(self) -> None:
        """Wait until it has lost the lease."""
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(self.task, SECONDS)
        assert self.lead_ended.is_set()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def candidates(client: Client, namespace: str, *identities: str) -> AsyncIterator[list[Candidate]]:
    made = [Candidate(client, namespace, identity) for identity in identities]
    try:
        yield made
    finally:
        for candidate in made:
            await candidate.stop()


async def holder(client: Client, namespace: str) -> str:
    lease = await client.get(LEASES, namespace, "kubedr")
    return str(lease["spec"].get("holderIdentity", ""))


@pytest.mark.cluster
async def test_one_of_several_leads_and_the_lease_names_it(client: Client, namespace: str) -> None:
    async with candidates(client, namespace, "one", "two", "three") as all_of_them:
        # Whoever knows of a leader has asked for the lease, and was late.
        await eventually(lambda: all(candidate.elector.leader for candidate in all_of_them))
        [leader] = [candidate for candidate in all_of_them if candidate.elector.leading]
        assert await holder(client, namespace) == leader.elector.identity
        assert all(candidate.elector.leader == leader.elector.identity for candidate in all_of_them)


@pytest.mark.cluster
async def test_a_leader_that_stops_gives_the_lease_up_and_the_next_need_not_wait(
    client: Client, namespace: str
) -> None:
    async with candidates(client, namespace, "first") as [first]:
        await first.leads()
        async with candidates(client, namespace, "second") as [second]:
            await eventually(lambda: second.elector.leader == "first")
            assert not second.elector.leading
            await first.stop()
            assert first.lead_ended.is_set()
            assert await holder(client, namespace) in {"", "second"}
            await second.leads()
            lease = await client.get(LEASES, namespace, "kubedr")
            assert lease["spec"]["leaseTransitions"] >= 1
    assert await holder(client, namespace) == ""


@pytest.mark.cluster
async def test_a_lease_that_nobody_renews_is_taken_over_after_its_duration(
    client: Client, namespace: str
) -> None:
    await client.create(
        LEASES,
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "kubedr", "namespace": namespace},
            # A time to come: only what a candidate sees with its own clock counts.
            "spec": {
                "holderIdentity": "dead",
                "leaseDurationSeconds": 1,
                "renewTime": "2099-01-01T00:00:00.000000Z",
                "acquireTime": "2099-01-01T00:00:00.000000Z",
                "leaseTransitions": 3,
            },
        },
    )
    began = asyncio.get_running_loop().time()
    async with candidates(client, namespace, "alive") as [alive]:
        await alive.leads()
        assert asyncio.get_running_loop().time() - began >= 1.0
        lease = await client.get(LEASES, namespace, "kubedr")
        assert lease["spec"]["leaseTransitions"] == 4


@pytest.mark.fault
async def test_a_leader_that_cannot_renew_stops_before_its_lease_expires(
    fake: FakeApi, fake_client: Client
) -> None:
    fake.fail("PUT", "leases", 500, "InternalError", times=1000)
    time = Time()
    leader = Candidate(fake_client, "ns", "one", time=time)
    await leader.loses()
    assert LASTING.renew_deadline <= time.now < LASTING.lease_duration
    with pytest.raises(LeadershipLost):
        await leader.client.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "ns"}})


@pytest.mark.fault
async def test_a_leader_whose_renewal_hangs_stops_before_its_lease_expires(
    fake: FakeApi, fake_client: Client
) -> None:
    fake.hang("PUT", "leases")
    # The first renewal is made so late that there is but a moment for it.
    settings = ElectionSettings(lease_duration=15, renew_deadline=10, retry_period=9.05)
    time = Time()
    await Candidate(fake_client, "ns", "one", settings, time).loses()
    assert fake.count("PUT", "leases") <= 1
    assert time.now < settings.renew_deadline, "it did not sleep on"


@pytest.mark.fault
async def test_a_leader_that_was_paused_writes_nothing_after(fake: FakeApi, fake_client: Client) -> None:
    paused = Candidate(fake_client, "ns", "paused")
    await paused.leads()
    paused.ahead = 1000.0
    writes = len(fake.requests)
    # At once, before the renewing task had a chance to run.
    with pytest.raises(LeadershipLost, match="paused does not hold the lease ns/kubedr"):
        await paused.client.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "ns"}})
    await paused.loses()
    assert not [seen for seen in fake.requests[writes:] if "configmaps" in seen.path]
    assert fake.objects["leases", "ns", "kubedr"]["spec"]["holderIdentity"] == "paused", (
        "and releases nothing"
    )


@pytest.mark.fault
async def test_a_leader_whose_lease_was_taken_stops(fake: FakeApi, fake_client: Client) -> None:
    leader = Candidate(fake_client, "ns", "one")
    await leader.leads()
    lease = await fake_client.get(LEASES, "ns", "kubedr")
    lease["spec"]["holderIdentity"] = "thief"
    await fake.put("leases", lease)
    await leader.loses()
    assert fake.objects["leases", "ns", "kubedr"]["spec"]["holderIdentity"] == "thief"


@pytest.mark.fault
async def test_a_renewal_whose_answer_was_lost_is_made_up_for_by_the_next(
    fake: FakeApi, fake_client: Client
) -> None:
    # Twice: aiohttp itself repeats a PUT once on a kept connection that turns out to be closed.
    fake.hang_up("PUT", "leases", times=2, carried_out=True)
    # Two attempts fit into the deadline and a third does not.
    settings = ElectionSettings(lease_duration=600, renew_deadline=400, retry_period=160)
    time = Time(sleeps=3)
    leader = Candidate(fake_client, "ns", "one", settings, time)
    await eventually(lambda: time.sleeps == 0)
    assert time.now > settings.renew_deadline
    assert leader.elector.leading
    await leader.stop()


@pytest.mark.fault
async def test_a_candidate_waits_out_an_api_server_that_is_down(fake: FakeApi, fake_client: Client) -> None:
    fake.fail("GET", "leases", 503, "ServiceUnavailable", times=3)
    async with candidates(fake_client, "ns", "one") as [candidate]:
        await candidate.leads()


async def test_what_the_leader_raises_is_raised_and_the_lease_is_given_up(
    fake: FakeApi, fake_client: Client
) -> None:
    elector = LeaderElector(fake_client, "ns", "kubedr", "one", settings=LASTING)

    async def lead() -> None:
        raise errors.ServerError("as the test wants it")

    with pytest.raises(errors.ServerError, match="as the test wants it"):
        await elector.run(lead)
    assert fake.objects["leases", "ns", "kubedr"]["spec"]["holderIdentity"] == ""


async def test_a_leader_that_is_done_returns_and_gives_the_lease_up(
    fake: FakeApi, fake_client: Client
) -> None:
    elector = LeaderElector(fake_client, "ns", "kubedr", "one", settings=LASTING)

    async def lead() -> None:
        elector.check()

    await elector.run(lead)
    assert not elector.leading
    assert fake.objects["leases", "ns", "kubedr"]["spec"]["holderIdentity"] == ""


def test_times_that_would_let_two_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="retry period < renew deadline < lease duration"):
        ElectionSettings(lease_duration=10, renew_deadline=15)
