"""All reconcilers together, on shared informers."""

import asyncio
import dataclasses
import logging
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from kubedr_server.controllers import routes
from kubedr_server.controllers.cluster import Cluster
from kubedr_server.controllers.location.reconciler import LocationReconciler
from kubedr_server.controllers.policy.reconciler import PolicyReconciler
from kubedr_server.controllers.reconciler import Context, Reconciler
from kubedr_server.controllers.record import RecordReconciler
from kubedr_server.controllers.refusal import Refusals
from kubedr_server.controllers.restore import RestoreReconciler
from kubedr_server.controllers.runtime import Controller
from kubedr_server.controllers.secrets import SecretReader
from kubedr_server.controllers.settings import ControllerSettings
from kubedr_server.controllers.turns import Turns
from kubedr_server.controllers.writer import Writer
from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.election import LeadershipLost
from kubedr_server.kube.events import EventRecorder
from kubedr_server.kube.resources import NAMESPACES
from kubedr_server.ops.backup_metrics import BackupMetrics
from kubedr_server.ops.location_metrics import LocationMetrics
from kubedr_server.ops.queue_metrics import InformerMetrics, QueueMetrics, ReconcileMetrics

logger = logging.getLogger(__name__)

CLUSTER_NAMESPACE = "kube-system"
"""Its uid names the cluster: it is as old as the cluster and is never made anew."""


class ControllerMetrics:
    """What the controllers measure. Make it once for a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.backups = BackupMetrics(registry)
        self.locations = LocationMetrics(registry)
        self.informers = InformerMetrics(registry)
        self.queues = QueueMetrics(registry)
        self.reconciles = ReconcileMetrics(registry)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


async def run(
    client: Client,
    settings: ControllerSettings,
    *,
    metrics: ControllerMetrics,
    rng: random.Random,
    clock: Callable[[], datetime] = utc_now,
    ready: asyncio.Event | None = None,
    identity: str = "kubedr",
) -> None:
    """Reconcile until cancelled.

    Run it while leading, with a client whose guard stops writes when leadership is lost; it then
    raises LeadershipLost. `ready` is set once all informers have synced and the workers have begun.

    It ends in order: no new work, then the work under way (at most `drain_seconds`), then the
    informers, then the last Events.
    """
    settings = await with_cluster_id(client, settings)
    cluster = Cluster(client, settings.namespace, rng=rng, observer=metrics.informers)
    recorder = EventRecorder(client, identity, now=clock, rng=rng)
    context = Context(cluster, Writer(cluster, recorder), settings, clock, rng)
    secrets, turns = SecretReader(cluster), Turns(cluster)
    reconcilers: Sequence[Reconciler] = (
        LocationReconciler(context, secrets, turns, metrics.locations),
        PolicyReconciler(context, metrics.backups),
        RecordReconciler(context, secrets, turns),
        RestoreReconciler(context, secrets),
    )
    refusals = Refusals(cluster, clock)
    controllers = [
        Controller(reconciler, settings, refusals, queues=metrics.queues, reconciles=metrics.reconciles)
        for reconciler in reconcilers
    ]
    routes.connect(cluster, {controller.resource: controller.queue.add for controller in controllers})
    try:
        await _run(cluster, recorder, controllers, settings, ready)
    except* LeadershipLost as group:
        lost = group
    else:
        return
    raise LeadershipLost(str(_first(lost)))


async def _run(
    cluster: Cluster,
    recorder: EventRecorder,
    controllers: Sequence[Controller],
    settings: ControllerSettings,
    ready: asyncio.Event | None,
) -> None:
    async with asyncio.TaskGroup() as below:
        services = [
            below.create_task(informer.run(), name=f"informer-{resource.plural}")
            for resource, informer in cluster.informers.items()
        ]
        services.append(below.create_task(recorder.run(), name="events"))
        try:
            for informer in cluster.informers.values():
                await informer.synced.wait()
            await _work(controllers, cluster, settings, ready)
        finally:
            await recorder.flush(settings.drain_seconds)
            for service in services:
                service.cancel()


async def _work(
    controllers: Sequence[Controller],
    cluster: Cluster,
    settings: ControllerSettings,
    ready: asyncio.Event | None,
) -> None:
    """Run the workers until cancelled, and let them end what they have begun."""
    async with asyncio.TaskGroup() as workers:
        running = [workers.create_task(controller.run(), name=controller.name) for controller in controllers]
        resync = workers.create_task(_resync(controllers, cluster, settings.resync_seconds), name="resync")
        if ready is not None:
            ready.set()
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            resync.cancel()
            for controller in controllers:
                controller.queue.shutdown()
            await asyncio.wait(running, timeout=settings.drain_seconds)
            raise


async def _resync(controllers: Sequence[Controller], cluster: Cluster, seconds: float) -> None:
    """Look at everything again from time to time: the net below all that should not happen."""
    while seconds > 0:
        await asyncio.sleep(seconds)
        for controller in controllers:
            for cached in cluster.informers[controller.resource].cache:
                controller.queue.add(cached.key)


async def with_cluster_id(client: Client, settings: ControllerSettings) -> ControllerSettings:
    """Return the settings with the cluster's id, if they have none and it can be read."""
    if settings.runner.cluster_id:
        return settings
    try:
        namespace = await client.get(NAMESPACES, None, CLUSTER_NAMESPACE)
    except (errors.NotFound, errors.Forbidden) as error:
        logger.warning("snapshots are not tagged with a cluster id: %s", error)
        return settings
    runner = dataclasses.replace(settings.runner, cluster_id=namespace["metadata"]["uid"])
    return dataclasses.replace(settings, runner=runner)


def _first(group: BaseExceptionGroup[LeadershipLost]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
