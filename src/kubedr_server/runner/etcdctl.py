"""etcdctl, as the runner calls it: the files it is given, what it answers, and why it does not.

The certificates are named as files, never read here: each call reads them anew, so that a Secret that is
renewed in mid-run works from the next call on.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import one_line
from kubedr_server.runner.process import Finished, run
from kubedr_server.runner.programs import Program
from kubedr_server.runner.settings import EtcdSettings

COMMAND_SECONDS: Final = 10
_SWAPPED: Final = "private key does not match public key"
"""Go's words for a certificate and a key that were read before and after a renewal."""

_SWAP_SECONDS: Final = 1.0

_STREAM_ENV: Final = {"GOMAXPROCS": "1", "GOGC": "400"}
"""A stream is one thing after the other. On one processor, and with a quarter of the garbage collections, the
snapshot comes a quarter sooner and takes etcdctl a third less of the processor, for 25 MB of memory
(docs/design/benchmarks-backup.md)."""


class Etcdctl:
    """The program with its settings. `directory` is private scratch space for its own files."""

    def __init__(
        self,
        program: Program,
        settings: EtcdSettings,
        directory: Path,
        search_path: str,
        command_seconds: int = COMMAND_SECONDS,
    ) -> None:
        self._program = program
        self._settings = settings
        self._env = {"PATH": search_path, "HOME": str(directory), "TMPDIR": str(directory)}
        self._command_seconds = command_seconds

    async def ask(self, *arguments: str, endpoints: list[str]) -> Finished:
        """Run a command that is answered within seconds, or ended."""
        return await self._run(f"--command-timeout={self._command_seconds}s", *arguments, endpoints=endpoints)

    async def stream(self, *arguments: str, endpoint: str) -> Finished:
        """Run a command that takes as long as it takes: with a timeout, etcdctl ends a large snapshot."""
        return await self._run(*arguments, endpoints=[endpoint], env=_STREAM_ENV)

    async def _run(
        self, *arguments: str, endpoints: list[str], env: Mapping[str, str] = MappingProxyType({})
    ) -> Finished:
        finished = await self._run_once(*arguments, endpoints=endpoints, env=env)
        if finished.returncode != 0 and _SWAPPED in finished.stderr:
            await asyncio.sleep(_SWAP_SECONDS)
            finished = await self._run_once(*arguments, endpoints=endpoints, env=env)
        return finished

    async def _run_once(self, *arguments: str, endpoints: list[str], env: Mapping[str, str]) -> Finished:
        tls: list[str] = []
        if self._settings.uses_tls:
            tls = [
                f"--cacert={self._settings.ca_file}",
                f"--cert={self._settings.certificate_file}",
                f"--key={self._settings.key_file}",
            ]
        return await run(
            [
                self._program.path,
                f"--endpoints={','.join(endpoints)}",
                f"--dial-timeout={self._command_seconds}s",
                *tls,
                *arguments,
            ],
            env={**self._env, **env},
        )

    def refused(self, finished: Finished, what: str) -> RunFailureError:
        """Return the failure (EtcdUnhealthy) of an etcd that was reached and did not answer."""
        cause = why(finished)
        endpoints = ", ".join(self._settings.endpoints)
        if "user name is empty" in cause or "permission denied" in cause or "auth" in cause:
            return RunFailureError(
                Reason.ETCD_UNHEALTHY,
                f"etcd at {endpoints} does not give {what}: {cause}. Its users are turned on: the client "
                "certificate's common name has to be a user with the role root.",
            )
        return RunFailureError(
            Reason.ETCD_UNHEALTHY,
            f"etcd at {endpoints} answers, and does not give {what}: {cause}. Has it lost its quorum? Look "
            "at 'etcdctl endpoint health --cluster'.",
        )


def why(finished: Finished) -> str:
    """Return the cause among etcdctl's words: the innermost error of its log lines, or the last line."""
    for line in reversed(finished.stderr.splitlines()):
        try:
            error = json.loads(line).get("error") if line.startswith("{") else None
        except ValueError:
            error = None
        if error:
            return one_line(str(error))[-300:]
    return one_line(finished.last_words)[:300]


def json_list(finished: Finished) -> list[dict[str, Any]]:
    """Return the list of objects that was printed; an empty one if none was."""
    value = _json(finished)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def json_object(finished: Finished) -> dict[str, Any]:
    """Return the object that was printed; an empty one if none was."""
    value = _json(finished)
    return value if isinstance(value, dict) else {}


def _json(finished: Finished) -> Any:
    try:
        return json.loads(finished.stdout)
    except ValueError:
        return None
