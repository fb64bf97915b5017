"""kubectl, as a person at a terminal runs it, on one API server."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.tools import program

Object = dict[str, Any]
SECONDS = 100
"""How long is waited for what takes some seconds: the machine may be busy."""


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
        done = subprocess.run(
            self._argv(*arguments),
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            timeout=seconds,
            env=self._environment(),
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def _argv(self, *arguments: str) -> list[str]:
        return [
            str(program("kubectl")),
            "--kubeconfig",
            str(self.kubeconfig),
            "-n",
            self.namespace,
            *arguments,
        ]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECACHEDIR": str(self.kubeconfig.parent / "kubectl-cache")}

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
        """Watch one object until something holds for it; AssertionError with its last state if never."""
        last = self.get(kind, name)
        if holds(last):
            return last
        argv = self._argv("get", kind, name, "-o", "json", "--watch")
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=self._environment()) as watch:
            timer = threading.Timer(seconds, watch.kill)
            timer.start()
            try:
                for last in _objects(watch.stdout or ()):
                    if holds(last):
                        return last
            finally:
                timer.cancel()
                watch.kill()
        raise AssertionError(f"{kind}/{name} after at most {seconds} s:\n{yaml.safe_dump(last)}")

    def finished(self, job: str, *, seconds: float = SECONDS) -> str:
        """Wait for a Job's end, whichever it is; return `Complete` or `Failed`."""

        def end(found: Object) -> str:
            ended = (
                kind for kind in ("Complete", "Failed") if condition(found, kind).get("status") == "True"
            )
            return next(ended, "")

        return end(self.until("job", job, lambda found: bool(end(found)), seconds=seconds))

    def events(self, kind: str, name: str) -> Sequence[tuple[str, str]]:
        """Return the events of one object: reasons and messages."""
        fields = f"involvedObject.kind={kind},involvedObject.name={name}"
        items = json.loads(self("get", "events", "--field-selector", fields, "-o", "json"))["items"]
        return [(item["reason"], item["message"]) for item in items]

    def told(self, kind: str, name: str, reason: str, message: str | None = None) -> None:
        """Wait for an event of one object: events come after the status that they tell of."""
        deadline = time.monotonic() + SECONDS
        while True:
            told = self.events(kind, name)
            if any(found == reason and message in {None, text} for found, text in told):
                return
            assert time.monotonic() < deadline, f"no event {reason} {message or ''} among {told}"
            time.sleep(0.1)


def _objects(lines: Iterable[str]) -> Iterator[Object]:
    """Read indented JSON objects that follow each other."""
    text = ""
    for line in lines:
        text += line
        if line == "}\n":
            yield json.loads(text)
            text = ""


def condition(obj: Object, name: str) -> Object:
    """Return one of an object's conditions; empty if it has none of that type."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == name), {})
