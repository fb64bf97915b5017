"""One example of each kind, for the API reference. The tests hold them against the types."""

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, str]] = {
    "BackupLocation": """\
apiVersion: kubedr.catalogicsoftware.com/v1alpha1
kind: BackupLocation
metadata:
  name: offsite
  namespace: kubedr-system
spec:
  url: https://s3.example.com
  bucketName: cluster-backups
  prefix: production/east
  credentials: s3-credentials
""",
    "MetadataBackupPolicy": """\
apiVersion: kubedr.catalogicsoftware.com/v1alpha1
kind: MetadataBackupPolicy
metadata:
  name: hourly
  namespace: kubedr-system
spec:
  destination: offsite
  schedule: "15 * * * *"
  timeZone: Europe/Berlin
  certsDir: /etc/kubernetes/pki
  etcdCreds: etcd-creds
  retainNumBackups: 168
""",
    "MetadataBackupRecord": """\
apiVersion: kubedr.catalogicsoftware.com/v1alpha1
kind: MetadataBackupRecord
metadata:
  name: mbr-00f2bb92
  namespace: kubedr-system
  finalizers:
    - mbr.finalizers.kubedr.catalogicsoftware.com
spec:
  policy: hourly
  snapshotId: 00f2bb92
  backuploc: offsite
""",
    "MetadataRestore": """\
apiVersion: kubedr.catalogicsoftware.com/v1alpha1
kind: MetadataRestore
metadata:
  name: restore-00f2bb92
  namespace: kubedr-system
spec:
  mbrName: mbr-00f2bb92
  pvcName: restored-etcd
""",
}
