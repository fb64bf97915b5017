"""How the repository's settings are read: S3's keys, or the variables of another storage, from files."""

from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Env
from kubedr_server.runner.backends import variables_of
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.settings import RepositorySettings, init_settings


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "restic_repo_password").write_text("a password\n")
    return folder


def settings(secret: Path, url: str, **more: str) -> RepositorySettings:
    environment = {
        Env.RUN_ID: "run-1",
        Env.SCRATCH_DIR: str(secret.parent),
        Env.DEADLINE_SECONDS: "60",
        Env.REPOSITORY: url,
        Env.REPOSITORY_CREDENTIALS_DIR: str(secret),
        **{Env[name]: value for name, value in more.items()},
    }
    return init_settings({str(name): value for name, value in environment.items()}).repository


def test_another_storage_needs_only_the_password(secret: Path) -> None:
    read = settings(secret, "rest:https://backup.example.com/cluster", REPOSITORY_PROXY="http://proxy:3128")
    assert read.variables == {}
    assert read.proxy == "http://proxy:3128"
    with pytest.raises(RunFailureError, match="access_key") as caught:
        settings(secret, "s3:https://s3.example.com/bucket")
    assert caught.value.reason is Reason.SETTING_MISSING
    (secret / "restic_repo_password").unlink()
    with pytest.raises(RunFailureError, match="restic_repo_password"):
        settings(secret, "rest:https://backup.example.com/cluster")


def test_only_the_variables_of_the_storages_own_kind_are_read(secret: Path) -> None:
    for name in ("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD", "B2_ACCOUNT_KEY", "OS_PASSWORD"):
        (secret / name).write_text(f"canary {name}\n")
    for name in ("RESTIC_PASSWORD_COMMAND", "PATH", "LD_PRELOAD", "HTTPS_PROXY"):
        (secret / name).write_text("harm")
    read = settings(secret, "rest:https://backup.example.com/cluster")
    assert read.variables == {
        "RESTIC_REST_USERNAME": "canary RESTIC_REST_USERNAME",
        "RESTIC_REST_PASSWORD": "canary RESTIC_REST_PASSWORD",
    }
    assert "canary" not in repr(read)
    assert settings(secret, "swift:container:/").variables == {"OS_PASSWORD": "canary OS_PASSWORD"}
    assert settings(secret, "b2:bucket:path").variables == {"B2_ACCOUNT_KEY": "canary B2_ACCOUNT_KEY"}


def test_googles_credentials_stay_in_their_file(secret: Path) -> None:
    path = secret / "GOOGLE_APPLICATION_CREDENTIALS"
    path.write_text('{\n  "type": "service_account"\n}\n')
    (secret / "GOOGLE_PROJECT_ID").write_text("project")
    assert settings(secret, "gs:bucket:/").variables == {
        "GOOGLE_PROJECT_ID": "project",
        "GOOGLE_APPLICATION_CREDENTIALS": str(path),
    }


@pytest.mark.parametrize("value", ["", "two\nlines"])
def test_a_variable_that_is_empty_or_has_lines_is_refused(secret: Path, value: str) -> None:
    (secret / "AZURE_ACCOUNT_KEY").write_text(value)
    with pytest.raises(RunFailureError, match="AZURE_ACCOUNT_KEY") as caught:
        settings(secret, "azure:container:/")
    assert caught.value.reason is Reason.SETTING_MISSING


def test_s3_and_unknown_storage_take_no_variables() -> None:
    assert variables_of("s3:https://s3.example.com/bucket") == ()
    assert variables_of("sftp:host:/path") == ()
