"""The README in each backup: how a person gets everything back with nothing but what lies beside it."""

from collections.abc import Iterable
from textwrap import indent
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

     sha256sum --check --quiet recovery/SHA256SUMS        # says nothing if all is well
     etcdutl snapshot status etcd-snapshot.db --write-out=table

   Hash and revision have to be those in recovery/backup.json. The hash covers every key. "totalKeys" need not
   be the same: etcdutl 3.5 counts all entries of the file, and 3.6 the keys that are not deleted.

{ETCD}. Make etcd's data directory

   As root, on each control-plane node that had an etcd, and to which this directory was copied. Where a name
   or an address is another now, put the new one, in each of the commands:
{COMMANDS}
   The token has to be one that this cluster never had: "restored-2" at the next try. Else the new members
   can have the ids of the old ones, and old ones that still run would mix with them. The last two options
   make the clients of the old cluster list anew; an etcdutl older than 3.5.10 does not know them. etcdctl 3.6
   has no "snapshot restore" any more.

   recovery/versions.json names the etcd that was backed up: start the same minor release (3.5 or 3.6) of it,
   and never an older one. etcdutl should be of that release, too.

{NODE}. Put the node's files back

   First the control plane stops: move the files of /etc/kubernetes/manifests away, if there are any, and wait
   until 'crictl ps' shows no etcd and no kube-apiserver. Then:

     mv /var/lib/etcd /var/lib/etcd.before        # if it is there
     mv /var/lib/etcd-restored /var/lib/etcd
     mkdir -p /etc/kubernetes/pki /etc/kubernetes/manifests
     cp -a certificates/. /etc/kubernetes/pki/
     cp -a kubeconfigs/. /etc/kubernetes/
     grep -r encryption-provider-config= static-pods/        # the path for the next line, if there is one
     install -D -m 600 encryption-config/* THAT-PATH

   Objects that were encrypted at rest can be read only with the keys in encryption-config/, or with the KMS
   that it names.

{START}. Start the control plane

     cp -a static-pods/. /etc/kubernetes/manifests/
     systemctl restart kubelet
     export KUBECONFIG=/etc/kubernetes/admin.conf
     kubectl get --raw '/readyz?verbose'
     kubectl get nodes

   A new machine's kubelet has no configuration yet: 'kubeadm init phase kubelet-start', and, without the old
   one's kubelet.conf, 'kubeadm init phase kubeconfig kubelet'. One with another name or address needs
   certificates of its own: put back only ca.*, sa.*, front-proxy-ca.* and etcd/ca.*, make etcd's data
   directory with the new name and address, and let 'kubeadm init --config YOUR-CONFIG
   --ignore-preflight-errors=DirAvailable--var-lib-etcd' make the rest, in place of steps {NODE} and {START}.

   Objects are of the time of the backup: nodes that have joined since must join again, and what was deleted
   since is back.
"""


def readme(snapshot_format: str, commands: Iterable[tuple[str, str]]) -> str:
    """Return the text for a backup in a format, with each member's name and `restore_commands`."""
    segments = snapshot_format == "segments"
    first = 2 if segments else 1
    numbers = dict(zip(("CHECK", "ETCD", "NODE", "START"), range(first, first + 4), strict=True))
    head = _HEAD.format(
        SNAPSHOT_NOTE=" (after step 1)" if segments else "",
        DIGEST_NOTE=";\n                        the parts in etcd-segments/ have theirs in it"
        if segments
        else "",
    )
    listed = "".join(f"\n     # {name}\n{indent(command, '     ')}\n" for name, command in commands)
    return head + (_REBUILD if segments else "") + _STEPS.format(COMMANDS=listed, **numbers)
