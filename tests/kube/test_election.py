import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.election import ElectionSettings, LeaderElector, LeadershipLost
from kubedr_server.kube.resources import CONFIGMAPS, LEASES
from support.fake_api import FakeApi

QUICK = ElectionSettings(lease_duration=1.0, renew_deadline=0.6, retry_period=0.1)


class Candidate:
    """A server that wants to lead; it counts how long it did."""

    def __init__(
        self, client: Client, namespace: str, identity: str, settings: ElectionSettings = QUICK
    ) -> None:
        self.ahead = 0.0  # seconds by which this process's clock jumped, as after a pause
        self.elector = LeaderElector(
            client,
            namespace,
            "kubedr",
            identity,
            settings=settings,
            rng=random.Random(identity),
            clock=lambda: asyncio.get_running_loop().time() + self.ahead,
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
        for _ in range(20):
            assert sum(candidate.elector.leading for candidate in all_of_them) <= 1
            await asyncio.sleep(0.05)
        [leader] = [candidate for candidate in all_of_them if candidate.elector.leading]
        assert await holder(client, namespace) == leader.elector.identity
        assert all(candidate.elector.leader == leader.elector.identity for candidate in all_of_them)


@pytest.mark.cluster
async def test_a_leader_that_stops_gives_the_lease_up_and_the_next_need_not_wait(
    client: Client, namespace: str
) -> None:
    slow = ElectionSettings(lease_duration=60, renew_deadline=40, retry_period=0.1)
    first = Candidate(client, namespace, "first", slow)
    await asyncio.wait_for(first.lead_began.wait(), 10)
    second = Candidate(client, namespace, "second", slow)
    await asyncio.sleep(0.3)
    assert not second.elector.leading
    await first.stop()
    assert first.lead_ended.is_set()
    assert await holder(client, namespace) in {"", "second"}
    await asyncio.wait_for(second.lead_began.wait(), 10)
    lease = await client.get(LEASES, namespace, "kubedr")
    assert lease["spec"]["leaseTransitions"] >= 1
    await second.stop()
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
        await asyncio.wait_for(alive.lead_began.wait(), 10)
        assert asyncio.get_running_loop().time() - began >= 1.0
        lease = await client.get(LEASES, namespace, "kubedr")
        assert lease["spec"]["leaseTransitions"] == 4


@pytest.mark.fault
async def test_a_leader_that_cannot_renew_stops_before_its_lease_expires(
    fake: FakeApi, fake_client: Client
) -> None:
    leader = Candidate(fake_client, "ns", "one")
    await asyncio.wait_for(leader.lead_began.wait(), 10)
    began = asyncio.get_running_loop().time()
    fake.fail("PUT", "leases", 500, "InternalError", times=1000)
    fake.fail("GET", "leases", 500, "InternalError", times=1000)
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(leader.task, 10)
    assert leader.lead_ended.is_set()
    assert asyncio.get_running_loop().time() - began < QUICK.lease_duration
    with pytest.raises(LeadershipLost):
        await leader.client.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "ns"}})


@pytest.mark.fault
async def test_a_leader_whose_renewal_hangs_stops_before_its_lease_expires(
    fake: FakeApi, fake_client: Client
) -> None:
    leader = Candidate(fake_client, "ns", "one")
    await asyncio.wait_for(leader.lead_began.wait(), 10)
    began = asyncio.get_running_loop().time()
    fake.hang("PUT", "leases")
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(leader.task, 10)
    assert asyncio.get_running_loop().time() - began < QUICK.lease_duration


@pytest.mark.fault
async def test_a_leader_that_was_paused_writes_nothing_after(fake: FakeApi, fake_client: Client) -> None:
    paused = Candidate(fake_client, "ns", "paused")
    await asyncio.wait_for(paused.lead_began.wait(), 10)
    paused.ahead = 60.0
    writes = len(fake.requests)
    # At once, before the renewing task had a chance to run.
    with pytest.raises(LeadershipLost, match="paused does not hold the lease ns/kubedr"):
        await paused.client.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "ns"}})
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(paused.task, 10)
    assert not [seen for seen in fake.requests[writes:] if "configmaps" in seen.path]
    assert fake.objects["leases", "ns", "kubedr"]["spec"]["holderIdentity"] == "paused", (
        "and releases nothing"
    )


@pytest.mark.fault
async def test_a_leader_whose_lease_was_taken_stops(fake: FakeApi, fake_client: Client) -> None:
    leader = Candidate(fake_client, "ns", "one")
    await asyncio.wait_for(leader.lead_began.wait(), 10)
    lease = await fake_client.get(LEASES, "ns", "kubedr")
    lease["spec"]["holderIdentity"] = "thief"
    await fake.put("leases", lease)
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(leader.task, 10)
    assert fake.objects["leases", "ns", "kubedr"]["spec"]["holderIdentity"] == "thief"


@pytest.mark.fault
async def test_a_renewal_whose_answer_was_lost_is_made_up_for_by_the_next(
    fake: FakeApi, fake_client: Client
) -> None:
    # Two attempts fit into the deadline and a third does not.
    settings = ElectionSettings(lease_duration=3.0, renew_deadline=2.1, retry_period=0.84)
    leader = Candidate(fake_client, "ns", "one", settings)
    await asyncio.wait_for(leader.lead_began.wait(), 10)
    # Twice: aiohttp itself repeats a PUT once on a kept connection that turns out to be closed.
    fake.hang_up("PUT", "leases", times=2, carried_out=True)
    await asyncio.sleep(2.3)
    assert leader.elector.leading
    await leader.stop()


@pytest.mark.fault
async def test_a_candidate_waits_out_an_api_server_that_is_down(fake: FakeApi, fake_client: Client) -> None:
    fake.fail("GET", "leases", 503, "ServiceUnavailable", times=3)
    async with candidates(fake_client, "ns", "one") as [candidate]:
        await asyncio.wait_for(candidate.lead_began.wait(), 10)


async def test_what_the_leader_raises_is_raised_and_the_lease_is_given_up(
    fake: FakeApi, fake_client: Client
) -> None:
    elector = LeaderElector(fake_client, "ns", "kubedr", "one", settings=QUICK)

    async def lead() -> None:
        raise errors.ServerError("as the test wants it")

    with pytest.raises(errors.ServerError, match="as the test wants it"):
        await elector.run(lead)
    assert fake.objects["leases", "ns", "kubedr"]["spec"]["holderIdentity"] == ""


async def test_a_leader_that_is_done_returns_and_gives_the_lease_up(
    fake: FakeApi, fake_client: Client
) -> None:
    elector = LeaderElector(fake_client, "ns", "kubedr", "one", settings=QUICK)

    async def lead() -> None:
        elector.check()

    await elector.run(lead)
    assert not elector.leading
    assert fake.objects["leases", "ns", "kubedr"]["spec"]["holderIdentity"] == ""


def test_times_that_would_let_two_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="retry period < renew deadline < lease duration"):
        ElectionSettings(lease_duration=10, renew_deadline=15)
