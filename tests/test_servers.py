"""The servers that other tests stand on do what they say."""

import ssl
from pathlib import Path

import botocore.exceptions
import pytest

from support.etcd import EtcdClient, EtcdError, EtcdServer, etcd_cluster
from support.s3 import Identity, S3Server

pytestmark = pytest.mark.storage


def test_etcd_asks_for_a_client_certificate(etcd_server: EtcdServer) -> None:
    etcd_server.put("/servers/a", "1")
    assert etcd_server.get("/servers/a") == b"1"
    with (
        EtcdClient(etcd_server.endpoint, ca=etcd_server.ca) as stranger,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        stranger.get("/servers/a")


def test_many_keys_are_written_and_read_in_pages(etcd_server: EtcdServer) -> None:
    written = {f"/servers/many/{number:04}".encode(): b"%d" % number for number in range(1234)}
    with etcd_server.client() as client:
        client.put_all(written.items())
        found = list(client.all(b"/servers/many/"))
    assert {item.key: item.value for item in found} == written
    assert found[0].mod_revision < found[-1].mod_revision


def test_etcd_keeps_its_data_through_a_kill(tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as server:
        server.put("a", "1")
        server.kill()
        assert not server.is_ready()
        server.start()
        assert server.get("a") == b"1"
        server.enable_auth("long enough")
        with pytest.raises(EtcdError, match="permission denied"):
            server.get("a")
        with server.client() as client:
            client.log_in("root", "long enough")
            assert client.get("a") == b"1"


def test_the_members_of_a_cluster_agree(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path) as (first, second, third):
        first.put("a", "1")
        first.kill()
        for left in (second, third):
            left.process.wait_until(left.is_ready, seconds=60)  # until there is a new leader
        assert second.get("a") == b"1"
        assert third.get("a") == b"1"


def test_the_s3_server_refuses_a_wrong_key(s3_server: S3Server) -> None:
    s3_server.create_bucket("servers")
    s3_server.put_object("servers", "a/b", b"1")
    assert s3_server.objects("servers") == ["a/b"]
    stranger = Identity("admin", s3_server.access_key, "wrong")
    with (
        s3_server.client(stranger) as client,
        pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"),
    ):
        client.list_objects_v2(Bucket="servers")


def test_the_s3_server_has_several_users_and_keeps_its_data_through_a_kill(tmp_path: Path) -> None:
    reader = Identity.new("reader", actions=["Read:shared", "List:shared"])
    with S3Server(tmp_path, identities=[Identity.new("admin"), reader]) as server:
        server.create_bucket("shared")
        server.put_object("shared", "a", b"1")
        server.stop()
        server.start()
        with server.client(reader) as client:
            assert client.get_object(Bucket="shared", Key="a")["Body"].read() == b"1"
            with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
                client.put_object(Bucket="shared", Key="b", Body=b"2")


def test_the_s3_server_over_https_is_trusted_only_by_its_own_authority(s3_tls_server: S3Server) -> None:
    assert s3_tls_server.url.startswith("https://")
    s3_tls_server.create_bucket("servers")
    assert "servers" in s3_tls_server.buckets()
    s3_tls_server.ca_file, ca = None, s3_tls_server.ca_file
    try:
        with pytest.raises(botocore.exceptions.SSLError):
            s3_tls_server.buckets()
    finally:
        s3_tls_server.ca_file = ca
