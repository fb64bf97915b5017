"""What a killed run leaves in the bucket is removed, and what may be in use is not."""

import io
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Env, Operation
from kubedr_server.runner.leftovers import prepare_for_init, remove_dead_locks
from kubedr_server.runner.log import Log
from kubedr_server.runner.s3 import Bucket, parse_location
from kubedr_server.runner.settings import RepositorySettings, StorageKeys
from support.etcd import EtcdServer
from support.runner import RunnerPod
from support.s3 import S3Server

pytestmark = [pytest.mark.storage, pytest.mark.fault]


def log() -> Log:
    return Log(io.StringIO(), lambda: datetime.now(UTC))


def bucket_of(pod: RunnerPod) -> Bucket:
    url = pod.settings[Env.REPOSITORY]
    location = parse_location(url)
    assert location is not None
    keys = StorageKeys(pod.s3.access_key, pod.s3.secret_key)
    return Bucket(location, RepositorySettings(url, pod.credentials / "restic_repo_password", keys))


async def test_an_initialisation_that_died_between_key_and_config_is_healed(pod: RunnerPod) -> None:
    pod.done(Operation.INIT)
    pod.s3.delete_object(pod.bucket, f"{pod.prefix}/config")
    assert len(pod.s3.objects(pod.bucket, pod.prefix)) == 1, "a killed init leaves one key"
    assert await prepare_for_init(bucket_of(pod), log(), settled=timedelta(0)) is False
    assert pod.s3.objects(pod.bucket, pod.prefix) == []
    pod.done(Operation.INIT)


async def test_a_key_that_is_young_may_be_anothers_work_and_is_waited_for(pod: RunnerPod) -> None:
    pod.done(Operation.INIT)
    config = pod.s3.get_object(pod.bucket, f"{pod.prefix}/config")
    pod.s3.delete_object(pod.bucket, f"{pod.prefix}/config")
    keys = pod.s3.objects(pod.bucket)
    # It is as young as can be when the run finds it.
    pod.s3.put_object(pod.bucket, keys[0], pod.s3.get_object(pod.bucket, keys[0]))
    with pod.start(Operation.INIT) as running:
        running.wait_for("waiting in case another initialisation is under way")
        pod.s3.put_object(pod.bucket, f"{pod.prefix}/config", config)
        assert "was there already" in running.end().result.message
    assert keys[0] in pod.s3.objects(pod.bucket)


@pytest.mark.slow
def test_an_init_that_is_killed_at_any_moment_leaves_a_place_that_a_later_one_can_use(
    tmp_path: Path, s3_server: S3Server, etcd_server: EtcdServer
) -> None:
    for number, words in enumerate(("Asking the storage", "Making the repository")):
        pod = RunnerPod(tmp_path / str(number), s3_server, etcd_server, f"bucket-{uuid.uuid4().hex[:12]}")
        with pod.start(Operation.INIT) as running:
            running.wait_for(words)
            running.kill_all()
        pod.done(Operation.INIT)


async def test_a_lock_dies_of_age_only_and_by_the_storages_clock(pod: RunnerPod) -> None:
    pod.plant()
    pod.s3.put_object(pod.bucket, f"{pod.prefix}/locks/{'a' * 64}", b"a dead run's lock")
    bucket = bucket_of(pod)
    assert await remove_dead_locks(bucket, log()) == 0
    assert len(pod.locks()) == 1
    assert await remove_dead_locks(bucket, log(), lifetime=timedelta(seconds=-5)) == 1
    assert pod.locks() == []


async def test_a_folder_made_in_a_web_console_is_an_empty_place(pod: RunnerPod) -> None:
    pod.s3.create_bucket(pod.bucket)
    pod.s3.put_object(pod.bucket, f"{pod.prefix}/", b"")
    assert await prepare_for_init(bucket_of(pod), log()) is False
    pod.done(Operation.INIT)


def test_where_a_repository_is() -> None:
    location = parse_location("s3:https://s3.example.com:9000/bucket/some/prefix/")
    assert location is not None
    assert (location.endpoint, location.bucket, location.prefix) == (
        "https://s3.example.com:9000",
        "bucket",
        "some/prefix",
    )
    assert location.key("config") == "some/prefix/config"
    assert parse_location("/var/backups") is None
    assert parse_location("s3:s3.example.com/bucket") == parse_location("s3:https://s3.example.com/bucket")


@pytest.mark.parametrize("url", ["s3:https://s3.example.com", "s3:", "s3:https:///bucket"])
def test_a_repository_without_host_or_bucket_is_refused(url: str) -> None:
    with pytest.raises(Exception, match="names no host or no bucket") as caught:
        parse_location(url)
    assert getattr(caught.value, "reason", None) is Reason.SETTING_MISSING
