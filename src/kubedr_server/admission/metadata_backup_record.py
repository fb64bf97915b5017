"""The rules of a MetadataBackupRecord."""

from functools import partial
from typing import Final

from kubedr_server.admission import schema
from kubedr_server.admission.facts import NOTHING, Context, Facts, Wanted, listed, missing_object
from kubedr_server.admission.field import Errors, FieldError
from kubedr_server.admission.rules import (
    NAME,
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
from kubedr_server.api.kinds import METADATA_BACKUP_RECORD
from kubedr_server.api.metadata_backup_record import MetadataBackupRecordSpec
from kubedr_server.api.names import record_name

_FIELDS: Final = ("policy", "snapshotId", "backuploc")

_SCHEMA: Final = schema.rule_of(MetadataBackupRecordSpec)


def validate(new: Object, old: Object | None, context: Context) -> tuple[list[FieldError], list[str]]:
    """Judge a new or changed record."""
    errors = Errors()
    spec = check_spec(_SCHEMA, new, errors)
    check_object_name(spec, "policy", errors)
    check_object_name(spec, "backuploc", errors)
    check_unchanged(new, old, _FIELDS, "a record describes a finished backup", errors)
    return errors.items, _warnings(spec, old, context) if not errors else []


def _warnings(spec: Object, old: Object | None, context: Context) -> list[str]:
    warnings: list[str] = []
    expected = record_name(spec["snapshotId"])
    if old is None and context.name != expected:
        warnings.append(f'metadata.name: a record of this snapshot is expected to be named "{expected}"')
    for name in names_in(spec, "backuploc"):
        warnings += missing_object(
            context.facts,
            "BackupLocation",
            name,
            "spec.backuploc",
            "nothing can be restored before it is there",
        )
    return warnings


def wants(new: Object, old: Object | None) -> Wanted:
    """Say what to look up before `validate`."""
    if not spec_changed(new, old):
        return NOTHING
    return Wanted(objects=frozenset(("BackupLocation", name) for name in names_in(spec_of(new), "backuploc")))


def wants_on_delete(old: Object) -> Wanted:
    """Say what to look up before `refuse_delete`."""
    name = NAME.find(old)
    return Wanted(restores_of_record=name if isinstance(name, str) else None)


def refuse_delete(_old: Object, facts: Facts) -> str | None:
    """Say which running restores still read the snapshot."""
    if not facts.restores_of_record:
        return None
    users = listed(facts.restores_of_record)
    return f"MetadataRestores {users} are using it: wait until they end, or delete them"


RULES: Final = Rules(
    kind=METADATA_BACKUP_RECORD.name,
    plural=METADATA_BACKUP_RECORD.plural,
    default=partial(default_spec, MetadataBackupRecordSpec),
    validate=validate,
    wants=wants,
    wants_on_delete=wants_on_delete,
    refuse_delete=refuse_delete,
)
