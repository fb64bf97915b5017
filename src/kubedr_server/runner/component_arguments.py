"""The arguments that the control plane's components run with, read from their static pods' manifests.

Whoever puts a control plane together again by hand needs them: etcd's prefix, the service network, the names
of the key files. They are taken out of the manifests so that they can be read at a glance and compared.
"""

from pathlib import Path
from typing import Any, Final

import yaml

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json", ".manifest"})
_ETCD_PREFIX: Final = "--etcd-prefix="
_MAX_SIZE: Final = 1024 * 1024


def read(directory: Path) -> dict[str, list[str]]:
    """Return each container's command and arguments, by `<pod>/<container>`.

    What is no pod's manifest is left out: it is in the backup as it is, and kubelet ignores it, too.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(directory.rglob("*")):
        if path.suffix not in _SUFFIXES or not path.is_file() or path.stat().st_size > _MAX_SIZE:
            continue
        try:
            document = yaml.safe_load(path.read_bytes())
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        if isinstance(document, dict) and document.get("kind") == "Pod":
            found |= _of_pod(document, path.stem)
    return found


def etcd_prefix(arguments: dict[str, list[str]]) -> str | None:
    """Return kube-apiserver's `--etcd-prefix`; None where it is not given."""
    for name, words in arguments.items():
        if name.endswith("/kube-apiserver"):
            for word in words:
                if word.startswith(_ETCD_PREFIX):
                    return word.removeprefix(_ETCD_PREFIX)
    return None


def _of_pod(pod: dict[str, Any], fallback: str) -> dict[str, list[str]]:
    metadata, spec = pod.get("metadata"), pod.get("spec")
    name = metadata.get("name", fallback) if isinstance(metadata, dict) else fallback
    containers = spec.get("containers") if isinstance(spec, dict) else None
    found: dict[str, list[str]] = {}
    for container in containers if isinstance(containers, list) else []:
        if isinstance(container, dict):
            words = [*(container.get("command") or []), *(container.get("args") or [])]
            found[f"{name}/{container.get('name', '')}"] = [str(word) for word in words]
    return found
