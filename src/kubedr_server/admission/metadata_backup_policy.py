"""The rules of a MetadataBackupPolicy."""

import re
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import Final

from kubedr_server.admission import names, paths, pods, schedules, schema, timezone, urls
from kubedr_server.admission.facts import NOTHING, Context, Facts, Wanted, missing_keys, missing_object
from kubedr_server.admission.field import Errors, FieldError
from kubedr_server.admission.rules import (
    NAME,
    SPEC,
    Object,
    Rules,
    check_object_name,
    check_spec,
    check_text,
    default_spec,
    names_in,
    spec_changed,
    spec_of,
    text_of,
)
from kubedr_server.api import cron
from kubedr_server.api.kinds import METADATA_BACKUP_POLICY
from kubedr_server.api.metadata_backup_policy import (
    ETCD_CREDENTIAL_KEYS,
    KNOWN_OPTIONS,
    MASTER_LABEL_OPTION,
    MetadataBackupPolicySpec,
)
from kubedr_server.api.names import CRONJOB_SUFFIX, MAX_CRONJOB_NAME, MAX_POLICY_NAME_LENGTH

_EXAMPLE: Final = "https://127.0.0.1:2379"
_USER_INFO: Final = re.compile(r"//[^/?#,]*@")
_SHORTEST_SENSIBLE: Final = timedelta(minutes=1)

_SCHEMA: Final = schema.outside_only(schema.rule_of(MetadataBackupPolicySpec), ("tolerations", "resources"))
"""Tolerations and resources are checked by `pods`, as the parts of a pod that they are."""


def validate(new: Object, old: Object | None, context: Context) -> tuple[list[FieldError], list[str]]:
    """Judge a new or changed policy."""
    errors = Errors()
    warnings: list[str] = []
    if old is None:
        _check_name(context.name, errors)
    spec = check_spec(_SCHEMA, new, errors)
    check_object_name(spec, "destination", errors)
    check_object_name(spec, "etcdCreds", errors)
    warnings += _check_schedule(spec, errors)
    check_text(spec, "timeZone", timezone.problem, errors)
    check_text(spec, "certsDir", paths.problem, errors)
    check_text(spec, "staticPodsDir", paths.problem, errors)
    check_text(spec, "encryptionConfig", paths.problem, errors)
    check_text(spec, "drillSchedule", schedules.problem, errors)
    _check_kubeconfigs(spec, errors)
    warnings += _spread_warnings(spec)
    _check_endpoints(spec, errors)
    _check_options(spec, errors)
    tolerations, resources = spec.get("tolerations"), spec.get("resources")
    if isinstance(tolerations, list) and all(isinstance(one, dict) for one in tolerations):
        pods.check_tolerations(tolerations, SPEC.child("tolerations"), errors)
    if isinstance(resources, dict):
        warnings += pods.check_resources(resources, SPEC.child("resources"), errors)
    return errors.items, warnings + _reference_warnings(spec, context.facts)


def _check_name(name: str, errors: Errors) -> None:
    if len(name) > MAX_POLICY_NAME_LENGTH:
        length = len(name) + len(CRONJOB_SUFFIX)
        errors.invalid(
            NAME,
            name,
            f"must be no more than {MAX_POLICY_NAME_LENGTH} characters: the name of its CronJob, "
            f"<policy>{CRONJOB_SUFFIX}, would have {len(name)} + {len(CRONJOB_SUFFIX)} = {length}, and "
            f"Kubernetes allows {MAX_CRONJOB_NAME}",
        )


def _check_schedule(spec: Object, errors: Errors) -> list[str]:
    text = text_of(spec, "schedule", errors)
    if text is None:
        return []
    try:
        schedule = schedules.parse(text)
    except cron.CronError as error:
        errors.invalid(SPEC.child("schedule"), text, str(error))
        return []
    if isinstance(schedule, cron.Every) and schedule.interval < _SHORTEST_SENSIBLE:
        return ["spec.schedule: an interval of less than a minute is shorter than most backups take"]
    return []


def _check_endpoints(spec: Object, errors: Errors) -> None:
    text = text_of(spec, "etcdEndpoint", errors)
    if text is None:
        return
    path = SPEC.child("etcdEndpoint")
    seen: set[urls.Endpoint] = set()
    for one in text.split(","):
        shown = _USER_INFO.sub("//…@", one)
        try:
            endpoint = _parse_endpoint(one)
        except urls.URLError as error:
            errors.invalid(path, shown, str(error))
            continue
        if endpoint.port is None:
            errors.invalid(path, shown, f"must have a port, as in {_EXAMPLE}")
        elif endpoint in seen:
            errors.duplicate(path, shown)
        seen.add(endpoint)


@lru_cache(maxsize=256)
def _parse_endpoint(text: str) -> urls.Endpoint:
    return urls.parse(text, ("https",), _EXAMPLE)


def _check_kubeconfigs(spec: Object, errors: Errors) -> None:
    files = spec.get("kubeconfigs")
    if not isinstance(files, list):
        return
    seen: set[str] = set()
    for position, file in enumerate(files):
        path = SPEC.child("kubeconfigs").index(position)
        if not isinstance(file, str) or errors.touches(path):
            continue
        name = PurePosixPath(file).name
        if (wrong := paths.problem(file)) is not None:
            errors.invalid(path, file, wrong)
        elif name in seen:
            errors.invalid(
                path, file, f"is the second file named {name}: in the backup they lie in one folder"
            )
        seen.add(name)


def _spread_warnings(spec: Object) -> list[str]:
    schedule = spec.get("schedule")
    if spec.get("spreadMinutes") and isinstance(schedule, str) and schedule.startswith("@every"):
        return ["spec.spreadMinutes: has no effect: an @every schedule has no minute to move"]
    return []


def _check_options(spec: Object, errors: Errors) -> None:
    options = spec.get("options")
    if not isinstance(options, dict):
        return
    path = SPEC.child("options")
    for key, value in options.items():
        if key not in KNOWN_OPTIONS:
            errors.not_supported(path.key(key), key, KNOWN_OPTIONS)
        elif key == MASTER_LABEL_OPTION and isinstance(value, str) and (wrong := names.qualified_name(value)):
            errors.invalid(path.key(key), value, wrong)


def _reference_warnings(spec: Object, facts: Facts) -> list[str]:
    warnings: list[str] = []
    for name in names_in(spec, "destination"):
        warnings += missing_object(
            facts, "BackupLocation", name, "spec.destination", "no backup is made before it is there"
        )
    for name in names_in(spec, "etcdCreds"):
        warnings += missing_keys(
            facts, name, ETCD_CREDENTIAL_KEYS, "spec.etcdCreds", "backups fail until it is there"
        )
    return warnings


def wants(new: Object, old: Object | None) -> Wanted:
    """Say what to look up before `validate`."""
    if not spec_changed(new, old):
        return NOTHING
    spec = spec_of(new)
    return Wanted(
        secrets=frozenset(names_in(spec, "etcdCreds")),
        objects=frozenset(("BackupLocation", name) for name in names_in(spec, "destination")),
    )


RULES: Final = Rules(
    kind=METADATA_BACKUP_POLICY.name,
    plural=METADATA_BACKUP_POLICY.plural,
    default=partial(default_spec, MetadataBackupPolicySpec),
    validate=validate,
    wants=wants,
    wants_on_delete=lambda _old: NOTHING,
    refuse_delete=lambda _old, _facts: None,
)
