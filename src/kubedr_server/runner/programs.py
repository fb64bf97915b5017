"""The programs that the runner needs: where they are, and whether they are new enough.

The floors are not taste:
- restic 0.18: exit codes 10, 11 and 12 tell a missing repository, a lock and a wrong password apart (0.17),
  and `exit_error` messages say why (0.18). With an older one a wrong password is just exit code 1.
- etcd 3.5: the first release with etcdutl; etcdctl and etcdutl of one release agree on the hash.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.process import run

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True)
class Requirement:
    """A program, the oldest version that will do, and how it prints its version."""

    name: str
    minimum: tuple[int, int]
    argument: str = "version"


@dataclass(frozen=True)
class Program:
    """A program that is there and new enough."""

    name: str
    path: Path
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"


RESTIC = Requirement("restic", (0, 18))
ETCDCTL = Requirement("etcdctl", (3, 5))
ETCDUTL = Requirement("etcdutl", (3, 5))
ETCD = Requirement("etcd", (3, 5), "--version")


async def find(requirement: Requirement, search_path: str) -> Program:
    """Find a program on a PATH; RunFailureError (ProgramMissing, ProgramTooOld) says what is needed."""
    name = requirement.name
    floor = ".".join(map(str, requirement.minimum))
    found = shutil.which(name, path=search_path)
    if found is None:
        raise RunFailureError(
            Reason.PROGRAM_MISSING,
            f"The program '{name}' is not on the PATH ({search_path or 'which is empty'}): "
            f"install {name} {floor} or newer, or use the backup image.",
        )
    finished = await run([found, requirement.argument], env={"PATH": search_path})
    match = _VERSION.search(finished.stdout)
    if finished.returncode != 0 or match is None:
        raise RunFailureError(
            Reason.PROGRAM_MISSING,
            f"'{found} {requirement.argument}' did not tell a version ({finished.last_words[:200]}): "
            f"install {name} {floor} or newer.",
        )
    version = (int(match[1]), int(match[2]), int(match[3] or 0))
    if version[:2] < requirement.minimum:
        raise RunFailureError(
            Reason.PROGRAM_TOO_OLD,
            f"'{found}' is version {match[0]}, and {floor} or newer is needed: install a newer {name}, "
            "or use the backup image.",
        )
    return Program(name, Path(found), version)
