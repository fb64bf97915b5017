"""`kubedr backup` as it is called: what is printed where, and the exit codes."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kubedr_server.api.conditions import Reason
from kubedr_server.cli.backup import backup, ended_text
from kubedr_server.cli.backup_follow import Outcome
from kubedr_server.contract import Operation
from kubedr_server.kube.resources import JOBS
from support.fake_api import FakeApi
from support.kubedr_objects import SNAPSHOT, a_result, record_object
from support.kubedr_world import World

pytestmark = pytest.mark.cluster

STATUS = {"revision": 1234, "snapshotSize": 4096, "dataStored": 1024}


@pytest.fixture
def kubeconfig(fake: FakeApi, tmp_path: Path) -> Path:
    """Write a kubeconfig of the fake API server."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "fake",
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "clusters": [{"name": "fake", "cluster": {"server": fake.url}}],
                "users": [{"name": "fake", "user": {}}],
            }
        )
    )
    return path


async def _call(kubeconfig: Path, *arguments: str) -> Result:
    """Call the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(
        CliRunner().invoke, backup, [*arguments, "--kubeconfig", str(kubeconfig)], catch_exceptions=False
    )


async def _call_and_end(kubeconfig: Path, world: World, *arguments: str, fails: bool = False) -> Result:
    """Call the command with --wait, and end its Job as Kubernetes would."""
    async with world.controllers():
        await world.ready_policy()
        call = asyncio.create_task(_call(kubeconfig, "nightly", "--wait", *arguments))
        job = await world.job(Operation.BACKUP)
        failure = a_result(reason=Reason.ETCD_UNREACHABLE, message="etcd does not answer.")
        await world.end(job, failure if fails else a_result())
        return await call


def test_a_record_is_printed_for_people() -> None:
    outcome = Outcome(True, "Backed up.", Reason.SUCCEEDED, "job", record_object(status=STATUS), 60.4)
    assert ended_text(outcome).splitlines() == [
        "record    mbr-9a9808ce",
        f"snapshot  {SNAPSHOT}",
        "revision  1234",
        "size      4.0 KiB, 1.0 KiB of it new",
        "took      60 s",
    ]


def test_a_failed_backup_prints_no_record() -> None:
    assert ended_text(Outcome(False, "No.", Reason.DISK_FULL, "job")) == ""


async def test_a_recorded_backup_is_0_and_prints_the_record(kubeconfig: Path, world: World) -> None:
    result = await _call_and_end(kubeconfig, world, "-o", "json")
    assert result.exit_code == 0, result.output
    assert "Started Job nightly-manual-" in result.stderr
    found = json.loads(result.stdout)
    assert found.pop("job").startswith("nightly-manual-")
    assert found == {
        "policy": "nightly",
        "namespace": "kubedr-system",
        "outcome": "Succeeded",
        "reason": "Succeeded",
        "message": "all is well",
        "record": "mbr-9a9808ce",
        "snapshotId": SNAPSHOT,
        "revision": 1234,
        "snapshotSize": 4096,
        "dataStored": 1024,
        "seconds": 60.0,
    }


async def test_a_failed_backup_is_1_with_its_sentence(kubeconfig: Path, world: World) -> None:
    result = await _call_and_end(kubeconfig, world, "-o", "json", fails=True)
    assert result.exit_code == 1
    assert "Error: the backup failed (EtcdUnreachable): etcd does not answer." in result.stderr
    assert json.loads(result.stdout)["outcome"] == "Failed"


async def test_what_cannot_be_started_is_2(kubeconfig: Path) -> None:
    result = await _call(kubeconfig, "nightly")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no MetadataBackupPolicy nightly in namespace kubedr-system" in result.stderr


async def test_a_timeout_is_3_and_the_backup_goes_on(kubeconfig: Path, world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        result = await _call(kubeconfig, "nightly", "--wait", "--timeout", "100ms", "-o", "json")
    assert result.exit_code == 3
    assert "was not done within 0.1 s and goes on as Job nightly-manual-" in result.stderr
    assert json.loads(result.stdout)["outcome"] == "Unknown"
    assert len(await world.jobs(Operation.BACKUP)) == 1


async def test_ctrl_c_is_130_and_the_backup_goes_on(kubeconfig: Path, world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kubedr_server", "backup", "nightly", "--wait"),
        *("--kubeconfig", str(kubeconfig)),
        stderr=asyncio.subprocess.PIPE,
        # A shell that runs the tests in the background has it ignored, and processes inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        async with asyncio.timeout(60):
            assert process.stderr is not None
            while b"Waiting for the Job's pod" not in await process.stderr.readline():
                assert process.returncode is None
            process.send_signal(signal.SIGINT)
            rest = await process.stderr.read()
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"The backup goes on as Job nightly-manual-" in rest
    assert b"Traceback" not in rest
    assert len(await world.jobs(Operation.BACKUP)) == 1


async def test_without_wait_the_job_is_named_and_it_is_0(kubeconfig: Path, world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        result = await _call(kubeconfig, "nightly", "-o", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["outcome"] == "Started"
    assert await world.get(JOBS, found["job"])


async def test_an_api_server_that_is_away_is_2(kubeconfig: Path, fake: FakeApi) -> None:
    fake.hang_up("GET", "/metadatabackuppolicies/", times=10)
    result = await _call(kubeconfig, "nightly")
    assert result.exit_code == 2
    assert fake.url in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nightly", "--kubeconfig", "/nonexistent"], "there is no kubeconfig at /nonexistent"),
        (["nightly", "--timeout", "soon"], "such as 90s, 10m or 1h30m"),
        (["nightly", "-o", "xml"], "'xml' is not one of 'text', 'json'"),
        ([], "Missing argument 'POLICY'"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(backup, arguments)
    assert result.exit_code == 2
    assert words in result.stderr


async def test_a_name_that_is_none_is_2(kubeconfig: Path) -> None:
    result = await _call(kubeconfig, "..")
    assert result.exit_code == 2
    assert "cannot be the name of a Kubernetes object" in result.stderr
