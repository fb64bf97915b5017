"""The main job from end to end, step by step: a backup that is proven by starting an etcd on it."""

import json
import secrets
from pathlib import Path
from typing import Any

from kubedr_server.local.demo.console import DemoError
from kubedr_server.local.demo.documents import LOCATION, POLICY
from kubedr_server.local.demo.etcd import Etcd
from kubedr_server.local.demo.etcd_client import KeyValue
from kubedr_server.local.demo.objects import objects
from kubedr_server.local.demo.s3 import S3
from kubedr_server.local.demo.stage import Stage

_EVENT_SECONDS = 3600
_WAIT = "--timeout=60s"


class Story:
    """One showing, on one stage. The steps are the methods, in the order in which `tell` calls them."""

    def __init__(self, stage: Stage, *, count: int) -> None:
        self._stage = stage
        self._console = stage.console
        self._directory = stage.directory
        self._count = count
        self._certificates: dict[Path, bytes] = {}

    def tell(self) -> None:
        """Show all steps; DemoError, StartFailedError or ToolError where one fails."""
        etcd = self._fill_etcd()
        s3 = self._start_s3()
        self._start_local_mode()
        self._make_location(s3)
        self._refuse_wrong_schedule(etcd)
        self._make_policy(etcd)
        snapshot, revision = self._back_up()
        original = self._lose_etcd(etcd, revision)
        self._restore_files(s3, snapshot)
        restored = self._start_restored_etcd(etcd)
        self._compare(original, restored)

    def _fill_etcd(self) -> Etcd:
        with self._console.step("Start an etcd with TLS and fill it") as step:
            etcd = self._stage.start_etcd("etcd")
            made = list(objects(self._count))
            with etcd.client() as client:
                lease = client.grant_lease(_EVENT_SECONDS)
                client.put_all((stored.key, stored.value) for stored in made if not stored.expires)
                client.put_all(((stored.key, stored.value) for stored in made if stored.expires), lease=lease)
                # A cluster's keys are written again and again, and some are deleted.
                pods = [stored for stored in made if stored.key.startswith("/registry/pods/")]
                client.put_all((stored.key, stored.value) for stored in pods[::3])
                for stored in pods[:25]:
                    client.delete(stored.key)
                revision = client.revision()
            size = sum(len(stored.value) for stored in made) / 1e6
            step.proof = f"{len(made) - 25} keys, {size:.1f} MB, at revision {revision}"
            self._console.run(
                "etcdctl",
                *("--endpoints", etcd.endpoint, "--cacert", self._here(etcd.ca)),
                *("--cert", self._here(etcd.cert), "--key", self._here(etcd.key)),
                *("endpoint", "status", "--write-out=table"),
                program=self._stage.programs["etcdctl"],
            )
        return etcd

    def _start_s3(self) -> S3:
        with self._console.step("Start an S3 server (SeaweedFS)") as step:
            s3 = self._stage.start_s3("s3")
            step.proof = f"{s3.url}, with a certificate authority of its own"
        return s3

    def _start_local_mode(self) -> None:
        with self._console.step("Start KubeDR without a cluster (kubedr local start)") as step:
            self._stage.start_local_mode()
            self._kubectl("api-resources", "--api-group=kubedr.catalogicsoftware.com")
            step.proof = "an API for kubectl, KubeDR's webhooks and controllers"

    def _make_location(self, s3: S3) -> None:
        with self._console.step("Say where backups go") as step:
            folder = self._directory / "credentials"
            folder.mkdir(mode=0o700)
            password = secrets.token_urlsafe(24)
            contents = {
                "access_key": s3.access_key,
                "secret_key": s3.secret_key,
                "restic_repo_password": password,
            }
            for name, content in contents.items():
                (folder / name).write_text(content)
            files = [f"--from-file=credentials/{name}" for name in contents]
            self._kubectl("create", "secret", "generic", "s3-credentials", *files)
            ca = self._here(s3.ca_file) if s3.ca_file else ""
            self._kubectl("create", "secret", "generic", "s3-ca", f"--from-file=ca.crt={ca}")
            self._apply("location.yaml", LOCATION.format(url=s3.url))
            self._kubectl("wait", "--for=condition=Ready", "backuplocation/demo-storage", _WAIT)
            self._kubectl("get", "backuplocations")
            step.proof = "bucket and encrypted repository made, Ready"

    def _refuse_wrong_schedule(self, etcd: Etcd) -> None:
        with self._console.step("Try a policy with a wrong schedule") as step:
            files = [f"--from-file={self._here(path)}" for path in (etcd.ca, etcd.cert, etcd.key)]
            self._kubectl("create", "secret", "generic", "etcd-creds", *files)
            self._write("wrong-policy.yaml", self._policy(etcd, "0 25 * * *"))
            self._console.say("  # no day has an hour 25")
            answer = self._kubectl("apply", "-f", "wrong-policy.yaml", expect_failure=True)
            if "is invalid: spec.schedule: Invalid value" not in answer:
                raise DemoError("the wrong policy was refused, but not because of its schedule")
            step.proof = "refused by the server, which names field, value and reason"

    def _make_policy(self, etcd: Etcd) -> None:
        with self._console.step("Say what is backed up, and when") as step:
            self._apply("policy.yaml", self._policy(etcd, "0 */6 * * *"))
            self._kubectl("wait", "--for=condition=Scheduled", "metadatabackuppolicy/demo", _WAIT)
            self._kubectl("get", "cronjobs")
            step.proof = "CronJob demo-backup-cronjob, every six hours"

    def _back_up(self) -> tuple[str, int]:
        """Back up; return the snapshot's id and etcd's revision in it."""
        with self._console.step("Back up now") as step:
            self._kubectl("create", "job", "--from=cronjob/demo-backup-cronjob", "first-backup")
            self._kubectl("wait", "--for=condition=Complete", "job/first-backup", _WAIT)
            self._kubectl("wait", "--for=condition=BackupSucceeded", "metadatabackuppolicy/demo", _WAIT)
            self._kubectl("get", "metadatabackuprecords")
            self._kubectl("get", "events", "--sort-by=.lastTimestamp", only=["Succeeded", "REASON"])
            record = self._record_of("first-backup")
            status = record["status"]
            snapshot = str(status.get("fullSnapshotId") or record["spec"]["snapshotId"])
            step.proof = (
                f"snapshot {snapshot[:8]}, etcd's revision {status['revision']}, hash {status['hash']}"
            )
        return snapshot, int(status["revision"])

    def _lose_etcd(self, etcd: Etcd, revision: int) -> list[KeyValue]:
        """Kill etcd and delete its data; return what it held at the backup's revision."""
        with self._console.step("Lose etcd") as step:
            with etcd.client() as client:
                original = list(client.all(revision=revision))
            # Now, for the next etcd of the same authority gets certificates of its own.
            self._certificates = _contents(etcd.authority.directory)
            etcd.kill()
            self._console.say("  # etcd is killed, and its data are deleted")
            self._console.run("rm", "-rf", self._here(etcd.data_dir))
            step.proof = "etcd killed, its data deleted"
        return original

    def _restore_files(self, s3: S3, snapshot: str) -> None:
        with self._console.step("Restore the files, with the bucket and the password alone") as step:
            settings = {
                "KUBEDR_REPOSITORY": f"s3:{s3.url}/cluster-backups",
                "KUBEDR_REPOSITORY_CREDENTIALS_DIR": "credentials",
                "KUBEDR_REPOSITORY_CA_FILE": self._here(s3.ca_file) if s3.ca_file else "",
                "KUBEDR_SNAPSHOT_ID": snapshot,
                "KUBEDR_TARGET_DIR": "restored",
                "KUBEDR_SCRATCH_DIR": "scratch",
                "KUBEDR_RESULT_PATH": "restore-result.json",
                "KUBEDR_RUN_ID": "by-hand",
                "KUBEDR_DEADLINE_SECONDS": "60",
            }
            for folder in ("restored", "scratch"):
                (self._directory / folder).mkdir()
            self._console.run("kubedr", "runner", "restore", env=settings)
            files = [path for path in (self._directory / "restored").rglob("*") if path.is_file()]
            step.proof = f"{len(files)} files: etcd's snapshot, the certificates, and what is known of them"

    def _start_restored_etcd(self, lost: Etcd) -> Etcd:
        with self._console.step("Start an etcd on them") as step:
            etcdutl = self._stage.programs["etcdutl"]
            file = "restored/etcd-snapshot.db"
            self._console.run("etcdutl", "snapshot", "status", file, "--write-out=table", program=etcdutl)
            self._console.run(
                "etcdutl",
                *("snapshot", "restore", file, "--data-dir=new-etcd/data", "--name=default"),
                f"--initial-cluster=default={lost.peer_url}",
                f"--initial-advertise-peer-urls={lost.peer_url}",
                program=etcdutl,
                only=["restored snapshot", "Restored"],
            )
            etcd = self._stage.start_etcd("new-etcd", like=lost)
            step.proof = f"etcd serves again at {etcd.endpoint}"
        return etcd

    def _compare(self, original: list[KeyValue], restored: Etcd) -> None:
        with self._console.step("Compare every key with the original") as step:
            with restored.client() as client:
                found = list(client.all())
            if found != original:
                before = {item.key: item for item in original}
                after = {item.key: item for item in found}
                different = sorted(
                    key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
                )
                raise DemoError(
                    f"{len(different)} of {len(original)} keys differ, the first: {different[0].decode()}"
                )
            certificates = self._compare_certificates()
            self._console.say(f"  {len(found)} keys: key, value, revisions, version and lease are equal")
            self._console.say(f"  {certificates} certificate files are equal, byte for byte")
            step.proof = f"{len(found)} of {len(original)} keys and {certificates} certificate files equal"

    def _compare_certificates(self) -> int:
        """Compare the restored certificates with those that were backed up; return the number of files."""
        restored = self._directory / "restored" / "certificates"
        if _contents(restored) != self._certificates:
            raise DemoError(f"the certificates in {restored} differ from those that were backed up")
        return len(self._certificates)

    def _record_of(self, job: str) -> dict[str, dict[str, str]]:
        """Return the record of a Job's backup: the schedule may have made another meanwhile."""
        run = self._get("job", job)["metadata"]["uid"]
        records: list[dict[str, dict[str, str]]] = self._get("metadatabackuprecords")["items"]
        for record in records:
            if record.get("status", {}).get("runId") == run:
                return record
        raise DemoError(f"there is no MetadataBackupRecord of the Job {job}")

    def _get(self, *what: str) -> Any:
        return json.loads(self._stage.kubectl_output("get", *what, "--output=json"))

    def _policy(self, etcd: Etcd, schedule: str) -> str:
        return POLICY.format(
            endpoint=etcd.endpoint, certificates=etcd.authority.directory.absolute(), schedule=schedule
        )

    def _write(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)
        self._console.show(self._directory / name)

    def _apply(self, name: str, text: str) -> None:
        self._write(name, text)
        self._kubectl("apply", "-f", name)

    def _kubectl(
        self, *arguments: str, expect_failure: bool = False, only: tuple[str, ...] | list[str] = ()
    ) -> str:
        return self._console.run(
            "kubectl",
            *arguments,
            program=self._stage.programs["kubectl"],
            expect_failure=expect_failure,
            only=only,
        )

    def _here(self, path: Path) -> str:
        """Return a path as one types it in the demo's directory."""
        return str(path.relative_to(self._directory))


def _contents(directory: Path) -> dict[Path, bytes]:
    """Return the files below a directory, by their paths in it."""
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
