"""The rules of a MetadataRestore."""

from functools import partial
from typing import Final

from kubedr_server.admission import schema
from kubedr_server.admission.facts import NOTHING, Context, Facts, Wanted, missing_object
from kubedr_server.admission.field import Errors, FieldError
from kubedr_server.admission.rules import (
    Object,
    Rules,
    check_object_name,
    check_spec,
    check_unchanged,
    default_spec,
    names_in,
    spec_changed,
    spec_of,
)
from kubedr_server.api.kinds import METADATA_RESTORE
from kubedr_server.api.metadata_restore import MetadataRestoreSpec

_FIELDS: Final = ("mbrName", "pvcName")

_SCHEMA: Final = schema.rule_of(MetadataRestoreSpec)


def validate(new: Object, old: Object | None, context: Context) -> tuple[list[FieldError], list[str]]:
    """Judge a new or changed restore."""
    errors = Errors()
    spec = check_spec(_SCHEMA, new, errors)
    for field in _FIELDS:
        check_object_name(spec, field, errors)
    check_unchanged(new, old, _FIELDS, "a restore runs once; make another MetadataRestore instead", errors)
    return errors.items, _warnings(spec, context.facts)


def _warnings(spec: Object, facts: Facts) -> list[str]:
    consequence = "the restore waits for it"
    warnings: list[str] = []
    for name in names_in(spec, "mbrName"):
        warnings += missing_object(facts, "MetadataBackupRecord", name, "spec.mbrName", consequence)
    for name in names_in(spec, "pvcName"):
        warnings += missing_object(facts, "PersistentVolumeClaim", name, "spec.pvcName", consequence)
    return warnings


def wants(new: Object, old: Object | None) -> Wanted:
    """Say what to look up before `validate`."""
    if not spec_changed(new, old):
        return NOTHING
    spec = spec_of(new)
    return Wanted(
        objects=frozenset(
            [
                *(("MetadataBackupRecord", name) for name in names_in(spec, "mbrName")),
                *(("PersistentVolumeClaim", name) for name in names_in(spec, "pvcName")),
            ]
        )
    )


RULES: Final = Rules(
    kind=METADATA_RESTORE.name,
    plural=METADATA_RESTORE.plural,
    default=partial(default_spec, MetadataRestoreSpec),
    validate=validate,
    wants=wants,
    wants_on_delete=lambda _old: NOTHING,
    refuse_delete=lambda _old, _facts: None,
)
