"""What runs beside the requests: the first namespaces now; more to come."""

from types import TracebackType

from kubedr_server.local.api.context import Call, Engine
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.deleting import Deleter
from kubedr_server.local.api.paths import Target
from kubedr_server.local.api.writing import Writer

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class Background:
    """Starts and ends the tasks that keep the stored objects in order."""

    def __init__(self, engine: Engine, writer: Writer, deleter: Deleter) -> None:
        self._engine = engine
        self._writer = writer
        self._deleter = deleter

    async def __aenter__(self) -> "Background":
        resource = self._engine.registry.find("", "v1", "namespaces")
        if resource is None:
            raise LookupError("namespaces are not registered")
        for name in NAMESPACES:
            if self._engine.store.get(Key("namespaces", "", name)) is None:
                namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                await self._writer.create(Call(Target(resource)), namespace)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
