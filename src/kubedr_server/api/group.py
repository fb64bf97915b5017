"""The API group and the names that are derived from it."""

from typing import Final

GROUP: Final = "kubedr.catalogicsoftware.com"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

CATEGORY: Final = "kubedr"
"""`kubectl get kubedr` lists every kind of the group."""

RECORD_FINALIZER: Final = f"mbr.finalizers.{GROUP}"
"""Held by a MetadataBackupRecord until its snapshot has been forgotten (KubeDR backup guide)."""
