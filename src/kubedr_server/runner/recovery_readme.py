"""The README in each backup: how a person gets everything back with nothing but what lies beside it."""

from typing import Final

_HEAD: Final = """\
A BACKUP OF A KUBERNETES CONTROL PLANE
======================================

This directory was restored from a restic repository that KubeDR wrote. KubeDR is not needed to use it.

  etcd-snapshot.db      etcd's snapshot, as 'etcdctl snapshot save' writes it{SNAPSHOT_NOTE}
  certificates/         the cluster's certificates and keys (usually /etc/kubernetes/pki)
  static-pods/          the control plane's static pods (usually /etc/kubernetes/manifests)
  kubeconfigs/          admin.conf and the like (usually from /etc/kubernetes)
  encryption-config/    kube-apiserver's encryption configuration
  recovery/             this file, and what is known of the backup:
    backup.json         revision, hashes and counts of objects, as they were when it was made
    members.json        the members of the etcd cluster
    versions.json       the programs that made the backup
    arguments.json      the arguments of the control plane's components
    SHA256SUMS          the digest of every file{DIGEST_NOTE}

What the backup policy did not name is not there.

All of it is secret: it holds the keys of the cluster and every Secret in it.

"""

_REBUILD: Final = """\
1. Put the snapshot together

   It is stored in small parts, etcd-segments/, so that a backup costs only what has changed. Any Python 3.8
   or newer makes the file of them, without any package:

     python3 -I recovery/rebuild.py etcd-segments etcd-snapshot.db

   (A restore by KubeDR has done so already: then etcd-snapshot.db is there, and etcd-segments/ is not.)

"""

_STEPS: Final = """\
{CHECK}. Check that it is whole

     sha256sum --check recovery/SHA256SUMS
     etcdutl snapshot status etcd-snapshot.db --write-out=table

   Hash (backup.json has it in hexadecimal), revision and total keys ("totalRevisions") are in
   recovery/backup.json.

{NODE}. Put the node's files back

   On a control-plane node, as root, with the control plane stopped (move /etc/kubernetes/manifests away, and
   kubelet ends it):

     cp -a certificates/. /etc/kubernetes/pki/
     cp -a kubeconfigs/. /etc/kubernetes/
     cp encryption-config/* <where --encryption-provider-config in arguments.json says>

   Objects that were encrypted at rest can be read only with the keys in encryption-config/, or with the KMS
   that it names.

{ETCD}. Make etcd's data directory

   One member (members.json has the names and peer URLs):

     etcdutl snapshot restore etcd-snapshot.db --data-dir /var/lib/etcd \\
       --name <name> --initial-cluster <name>=<peer URL> --initial-advertise-peer-urls <peer URL>

   Several members: the same file and the same --initial-cluster on each of them, with its own --name and
   --initial-advertise-peer-urls. Use an etcdutl of the etcd version in versions.json, or newer in the same
   minor release. Where clients of the old cluster still run, add
   --bump-revision 1000000000 --mark-compacted, so that their watches begin anew.

{START}. Start the control plane

     cp -a static-pods/. /etc/kubernetes/manifests/

   Compare arguments.json with what runs, then look:

     kubectl get nodes; kubectl get --raw /readyz?verbose

   Objects are of the time of the backup: nodes that have joined since must join again, and what was deleted
   since is back.
"""


def readme(snapshot_format: str) -> str:
    """Return the text for a backup in a format."""
    segments = snapshot_format == "segments"
    first = 2 if segments else 1
    numbers = dict(zip(("CHECK", "NODE", "ETCD", "START"), range(first, first + 4), strict=True))
    head = _HEAD.format(
        SNAPSHOT_NOTE=" (after step 1)" if segments else "",
        DIGEST_NOTE=";\n                        the parts in etcd-segments/ have theirs in it"
        if segments
        else "",
    )
    return head + (_REBUILD if segments else "") + _STEPS.format(**numbers)
