"""A kopf operator that does the core of it: the same CronJob for each policy, and a status that says so.

It is written as kopf's documentation has it: one handler for policies that are new, changed, or found at the
start. It makes its own requests with our client, which costs it less than the usual ones would.
"""

import argparse
import asyncio
import dataclasses
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import kopf

from benchmarks.controllers_counting import Requests, report, rss
from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.group import GROUP, VERSION
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import BACKUP_LOCATIONS, CRONJOBS
from kubedr_server.kube.transport import ClientSettings
from kubedr_server.manifests.cronjob import backup_cronjob
from support.kubedr_objects import RUNNER


async def main(kubeconfig: str, image: str) -> None:
    """Operate until standard input ends."""
    runner = dataclasses.replace(RUNNER, image=image)
    os.environ["KUBECONFIG"] = kubeconfig  # the only way to tell kopf
    requests = Requests()
    requests.install()
    print(rss(), flush=True)  # noqa: T201 - read by the benchmark
    async with await Client.from_kubeconfig(kubeconfig, settings=ClientSettings(qps=0)) as client:
        locations = {
            (obj["metadata"]["namespace"], obj["metadata"]["name"]): BackupLocation.model_validate(obj)
            for obj in (await client.list(BACKUP_LOCATIONS)).items
        }

        async def reconcile(body: Mapping[str, Any], patch: Any, **_: Any) -> None:
            policy = MetadataBackupPolicy.model_validate(dict(body))
            location = locations[policy.metadata.namespace, policy.spec.destination]
            cronjob = backup_cronjob(policy, location, runner)
            await client.apply(CRONJOBS, cronjob, field_manager="kopf")
            patch.status["observedGeneration"] = policy.metadata.generation

        await _operate(reconcile, requests)


async def _operate(reconcile: Any, requests: Requests) -> None:
    registry = kopf.OperatorRegistry()
    on: Any = kopf.on  # its types ask for more of a handler than it does
    on.login(registry=registry)(kopf.login_with_kubeconfig)
    kind = {"group": GROUP, "version": VERSION, "plural": "metadatabackuppolicies", "registry": registry}
    for decorate in (on.create, on.update, on.resume):
        decorate(id="reconcile", **kind)(reconcile)
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    stop = asyncio.Event()
    operator = asyncio.create_task(
        kopf.operator(registry=registry, settings=settings, standalone=True, clusterwide=True, stop_flag=stop)
    )
    await asyncio.to_thread(sys.stdin.read)
    print(report(requests), flush=True)  # noqa: T201 - read by the benchmark
    stop.set()
    await operator


if __name__ == "__main__":
    logging.disable(logging.ERROR)  # to log each policy would make it slower than need be
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kubeconfig")
    parser.add_argument("--image", default=RUNNER.image)
    options = parser.parse_args()
    asyncio.run(main(options.kubeconfig, options.image))
