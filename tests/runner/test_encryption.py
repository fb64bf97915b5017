"""Objects whose key is not in the backup are counted and told; no key gets into a message."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.runner import encryption
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.snapshot.objects import EncryptionKey

KEY1 = EncryptionKey("aescbc", "key1")
KEY2 = EncryptionKey("secretbox", "key2")
PLUGIN = EncryptionKey("kms", "vault")
SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def configuration(tmp_path: Path, *providers: dict[str, Any]) -> Path:
    path = tmp_path / "encryption.yaml"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "EncryptionConfiguration",
                "resources": [{"resources": ["secrets"], "providers": [*providers, {"identity": {}}]}],
            }
        )
    )
    return path


def of(kind: str, *names: str, secret: str = SECRET) -> dict[str, Any]:
    return {kind: {"keys": [{"name": name, "secret": secret} for name in names]}}


def test_the_keys_of_all_providers_are_found(tmp_path: Path) -> None:
    kms = {"kms": {"apiVersion": "v2", "name": "vault", "endpoint": "unix:///run/kms.sock"}}
    keys = encryption.read_keys(
        configuration(tmp_path, of("aescbc", "key1", "key3"), of("secretbox", "key2"), kms)
    )
    assert keys.own == {KEY1, KEY2, EncryptionKey("aescbc", "key3")}
    assert keys.external == {PLUGIN}


@pytest.mark.parametrize("secret", ["", "short", "not base64!", base64.b64encode(b"x" * 17).decode()])
def test_a_key_without_a_usable_secret_is_none(tmp_path: Path, secret: str) -> None:
    assert encryption.read_keys(configuration(tmp_path, of("aescbc", "key1", secret=secret))).own == set()


@pytest.mark.parametrize(
    "content", ["", "- canary", "resources: canary", "canary: [", "\x00", "resources: {a: 1}"]
)
def test_what_is_no_configuration_is_a_failure_that_tells_none_of_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "encryption.yaml"
    path.write_text(content)
    with pytest.raises(RunFailureError, match="is no encryption configuration") as caught:
        encryption.read_keys(path)
    assert caught.value.reason is Reason.NODE_FILES_UNREADABLE
    assert "canary" not in caught.value.message


def test_objects_whose_key_is_in_the_backup_are_restorable() -> None:
    judged = encryption.judge(Counter({KEY1: 3}), encryption.Keys(frozenset({KEY1})), pytest.fail)
    assert judged == encryption.Judged(3, 0)


def test_without_a_configuration_none_is_and_the_field_is_named() -> None:
    warnings: list[str] = []
    assert encryption.judge(Counter({KEY1: 3, KEY2: 1}), None, warnings.append) == encryption.Judged(4, 4)
    assert "4 objects are encrypted at rest with a key that is not in the backup" in warnings[0]
    assert "(aescbc key1, secretbox key2)" in warnings[0]
    assert "spec.encryptionConfig" in warnings[0]


def test_a_key_of_the_same_name_of_another_provider_does_not_count() -> None:
    warnings: list[str] = []
    keys = encryption.Keys(frozenset({EncryptionKey("aesgcm", "key1")}))
    assert encryption.judge(Counter({KEY1: 1}), keys, warnings.append).unrestorable == 1


def test_a_kms_plugin_is_told_in_a_sentence_of_its_own() -> None:
    warnings: list[str] = []
    keys = encryption.Keys(external=frozenset({PLUGIN}))
    assert encryption.judge(Counter({PLUGIN: 2}), keys, warnings.append) == encryption.Judged(2, 0)
    assert len(warnings) == 1
    assert "only while that KMS and its key exist" in warnings[0]


def test_nothing_encrypted_is_nothing_to_tell() -> None:
    assert encryption.judge(Counter(), None, pytest.fail) == encryption.Judged(0, 0)
