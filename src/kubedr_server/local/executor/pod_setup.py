"""Turns a pod into a program to run: its arguments, its environment and its directories.

Everything that may be missing is read before anything is written: a pod that has to wait leaves nothing.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.contract import PROGRAM, TERMINATION_MESSAGE_PATH
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import NotFound
from kubedr_server.kube.resources import CONFIGMAPS, SECRETS, Resource
from kubedr_server.local.executor import volumes
from kubedr_server.local.executor.environment import ConfigError, Sources, environment, expand
from kubedr_server.local.executor.objects import Object, namespace_of
from kubedr_server.local.executor.paths import PathMap, gather_files
from kubedr_server.local.executor.pvcs import ClaimLookup
from kubedr_server.local.executor.settings import ExecutorSettings
from kubedr_server.local.executor.volumes import Files, MountError, VolumeSources

# -P: a file in the process's directory must never be taken for a module.
INTERPRETER = (sys.executable, "-P", "-m", "kubedr_server")


@dataclass(frozen=True)
class Plan:
    """A program that can be started as it is."""

    arguments: list[str]
    environment: dict[str, str]
    directory: Path
    termination_message: Path


class ImageError(Exception):
    """The pod's image is not the one that runs here; no waiting helps."""


class PodSetup:
    """Makes plans of pods."""

    def __init__(self, client: Client, settings: ExecutorSettings, claims: ClaimLookup) -> None:
        self._client = client
        self._settings = settings
        self._claims = claims

    async def prepare(self, pod: Object, directory: Path) -> Plan:
        """Make what a pod needs below `directory`. Raises ImageError, ConfigError and MountError."""
        container = self._container(pod)
        namespace = namespace_of(pod)

        async def secret(name: str) -> Object | None:
            return await self._get(SECRETS, namespace, name)

        async def config_map(name: str) -> Object | None:
            return await self._get(CONFIGMAPS, namespace, name)

        sources = Sources(secret, config_map)
        found = {
            volume["name"]: await volumes.resolve(pod, volume, VolumeSources(sources, self._claims))
            for volume in pod["spec"].get("volumes") or []
        }
        variables = await environment(pod, container, sources)
        local = await asyncio.to_thread(_write, directory, found)
        termination = directory / "termination-log"
        await asyncio.to_thread(termination.touch, 0o600)
        paths = _paths(container, local)
        paths |= await asyncio.to_thread(gather_files, paths, directory / "gathered")
        paths[container.get("terminationMessagePath") or TERMINATION_MESSAGE_PATH] = termination
        mapped = PathMap(paths)
        words = [*(container.get("command") or [PROGRAM]), *(container.get("args") or [])]
        arguments = [mapped.rewrite(expand(word, variables)) for word in words]
        if arguments[0] == PROGRAM:
            arguments[:1] = INTERPRETER
        local_variables = {name: mapped.rewrite(value) for name, value in variables.items()}
        local_variables.setdefault("PATH", self._settings.search_path)
        return Plan(arguments, local_variables, directory, termination)

    def _container(self, pod: Object) -> Object:
        spec = pod["spec"]
        foreign = {each["image"] for each in [*(spec.get("initContainers") or []), *spec["containers"]]}
        foreign.discard(self._settings.image)
        if foreign:
            raise ImageError(
                f'Failed to pull image "{min(foreign)}": local mode runs only KubeDR\'s own image, '
                f'"{self._settings.image}"'
            )
        if spec.get("initContainers") or len(spec["containers"]) != 1:
            raise ConfigError("local mode runs pods of one container, without init containers")
        container: Object = spec["containers"][0]
        return container

    async def _get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            return await self._client.get(resource, namespace, name)
        except NotFound:
            return None


def _write(directory: Path, found: dict[str, Files | Path | None]) -> dict[str, Path]:
    """Make the volumes' directories; return where each volume is."""
    own = directory / "volumes"
    volumes.remove(own)  # of an attempt that came to nothing
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        name: content if isinstance(content, Path) else volumes.prepare(own / name, content)
        for name, content in found.items()
    }


def _paths(container: Object, local: dict[str, Path]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in local:
            raise MountError(f'volumeMount "{mount["name"]}" names no volume of the pod')
        path = local[mount["name"]]
        if mount.get("subPath"):
            path = volumes.within(path, mount["subPath"])
            if not path.exists():
                path.mkdir(parents=True, mode=0o700)
        paths[mount["mountPath"]] = path
    return paths
