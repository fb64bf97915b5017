"""`GET …/pods/{name}/log`: what `kubectl logs` shows, read from whoever runs the pods."""

from collections.abc import AsyncIterator, Mapping

from starlette.responses import Response, StreamingResponse

from kubedr_server.local.api.context import LogSource
from kubedr_server.local.api.errors import bad_request
from kubedr_server.local.api.storage import Entry


async def pod_log(pod: Entry, query: Mapping[str, str], logs: LogSource | None) -> Response:
    """Answer with a container's log. Raises APIError(400) where there is none to read."""
    name = pod.key.name
    spec = pod.object.get("spec") or {}
    containers = [each["name"] for each in spec.get("containers") or []]
    everything = [*(each["name"] for each in spec.get("initContainers") or []), *containers]
    container = query.get("container", "")
    if not container:
        if len(containers) != 1:
            choices = " ".join(containers)
            raise bad_request(
                f"a container name must be specified for pod {name}, choose one of: [{choices}]"
            )
        container = containers[0]
    if container not in everything:
        raise bad_request(f"container {container} is not valid for pod {name}")
    if logs is None:
        raise bad_request(
            f'container "{container}" in pod "{name}" is waiting to start: nothing runs pods here'
        )
    stream = logs.read(
        pod.key.namespace,
        name,
        container,
        follow=query.get("follow") in ("true", "1"),
        tail_lines=_number(query, "tailLines"),
        limit_bytes=_number(query, "limitBytes"),
        since_seconds=_number(query, "sinceSeconds"),
        timestamps=query.get("timestamps") in ("true", "1"),
        previous=query.get("previous") in ("true", "1"),
    )
    try:
        first = await anext(stream, b"")
    except LookupError as error:
        raise bad_request(str(error.args[0]) if error.args else f"no log of container {container}") from None
    return StreamingResponse(_chain(first, stream), media_type="text/plain")


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not text.isdigit():
        raise bad_request(f'{name}: Invalid value: "{text}": must be greater than or equal to 0')
    return int(text)
