"""The same rules behind kopf's admission server, as its documentation has it: handlers, a WebhookServer."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kopf

from kubedr_server.admission import timezone
from kubedr_server.admission.facts import Context
from kubedr_server.admission.field import unless_untouched
from kubedr_server.admission.judge import RULES
from kubedr_server.admission.status import invalid
from kubedr_server.api.group import GROUP, VERSION
from kubedr_server.ops.tls import CERTIFICATE_FILE, KEY_FILE
from support.ports import free_port


async def mutate(body: Mapping[str, Any], patch: Any, **_: Any) -> None:
    """Bring in the defaults."""
    patch.spec.update(RULES[body["kind"]].default(dict(body))["spec"])


async def validate(
    body: Mapping[str, Any], old: Mapping[str, Any] | None, warnings: list[str], **_: Any
) -> None:
    """Judge the object as our own server does."""
    rules, sent = RULES[body["kind"]], dict(body)
    before = None if old is None else dict(old)
    new = rules.default(sent)
    rules.wants(new, before)
    name = str(sent["metadata"]["name"])
    errors, found = rules.validate(new, before, Context(name))
    warnings += found
    if before is not None:
        errors = unless_untouched(errors, sent, before)
    if errors:
        raise kopf.AdmissionError(str(invalid(rules.kind, name, errors)["message"]), code=422)


async def main(directory: Path, kubeconfig: str) -> None:
    """Serve until standard input ends; print the port."""
    os.environ["KUBECONFIG"] = kubeconfig  # the only way to tell kopf
    await asyncio.to_thread(timezone.known_zones)
    port = free_port()
    registry = kopf.OperatorRegistry()
    on: Any = kopf.on  # its types ask for more of a handler than it does
    on.login(registry=registry)(kopf.login_with_kubeconfig)
    for kind in RULES:
        of_kind = {"group": GROUP, "version": VERSION, "kind": kind, "registry": registry}
        on.mutate(id="mutate", **of_kind)(mutate)
        on.validate(id="validate", **of_kind)(validate)
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1",
        port=port,
        host="localhost",
        certfile=directory / CERTIFICATE_FILE,
        pkeyfile=directory / KEY_FILE,
        cafile=directory / CERTIFICATE_FILE,
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    operator = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=True,
            stop_flag=stop,
            ready_flag=ready,
        )
    )
    await ready.wait()
    while not await _listens(port):  # noqa: ASYNC110 - kopf does not tell when it listens
        await asyncio.sleep(0.05)
    print(port, flush=True)  # noqa: T201 - read by the benchmark
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    await operator


async def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


if __name__ == "__main__":
    logging.disable(logging.ERROR)  # to log each refusal would make it slower than need be
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
