"""kubectl, as a person at a terminal runs it, on one API server."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.tools import program

Object = dict[str, Any]
SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """What kubectl said."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a kubeconfig and a namespace."""

    kubeconfig: Path
    namespace: str = "default"

    def __call__(self, *arguments: str, stdin: str | None = None, seconds: float = SECONDS) -> str:
        """Run kubectl; return what it prints. AssertionError with its words if it fails."""
        answer = self.answer(*arguments, stdin=stdin, seconds=seconds)
        assert answer.exit_code == 0, f"kubectl {' '.join(arguments)}: {answer.stderr or answer.stdout}"
        return answer.stdout

    def answer(self, *arguments: str, stdin: str | None = None, seconds: float = SECONDS) -> Answer:
        """Run kubectl, which may fail."""
        argv = [
            str(program("kubectl")),
            "--kubeconfig",
            str(self.kubeconfig),
            "-n",
            self.namespace,
            *arguments,
        ]
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            timeout=seconds,
            env={**os.environ, "KUBECACHEDIR": str(self.kubeconfig.parent / "kubectl-cache")},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def apply(self, *objects: Object) -> str:
        """Apply objects."""
        return self("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def refusal(self, *objects: Object) -> str:
        """Apply objects that must be refused; return the server's words."""
        answer = self.answer("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
        assert answer.exit_code == 1, f"it was not refused: {answer.stdout}"
        return answer.stderr

    def get(self, kind: str, name: str) -> Object:
        """Read one object."""
        found: Object = json.loads(self("get", kind, name, "-o", "json"))
        return found

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """Read all objects of a kind."""
        items: list[Object] = json.loads(self("get", kind, "-l", selector, "-o", "json"))["items"]
        return items

    def wait(self, condition: str, what: str, *, seconds: int = SECONDS) -> None:
        """Wait for `--for` a condition."""
        self("wait", f"--for={condition}", what, f"--timeout={seconds}s", seconds=seconds + 10)

    def until(
        self, kind: str, name: str, holds: Callable[[Object], bool], *, seconds: float = SECONDS
    ) -> Object:
        """Read one object until something holds for it; AssertionError with its last state if it does not."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.get(kind, name)
            if holds(found):
                return found
            assert time.monotonic() < deadline, f"{kind}/{name} after {seconds} s:\n{yaml.safe_dump(found)}"
            time.sleep(0.2)

    def finished(self, job: str, *, seconds: float = SECONDS) -> str:
        """Wait for a Job's end, whichever it is; return `Complete` or `Failed`."""

        def end(found: Object) -> str:
            ended = (
                kind for kind in ("Complete", "Failed") if condition(found, kind).get("status") == "True"
            )
            return next(ended, "")

        return end(self.until("job", job, lambda found: bool(end(found)), seconds=seconds))

    def events(self, kind: str, name: str) -> dict[str, str]:
        """Return the events of one object: reason to message."""
        fields = f"involvedObject.kind={kind},involvedObject.name={name}"
        items = json.loads(self("get", "events", "--field-selector", fields, "-o", "json"))["items"]
        return {item["reason"]: item["message"] for item in items}


def condition(obj: Object, name: str) -> Object:
    """Return one of an object's conditions; empty if it has none of that type."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == name), {})
