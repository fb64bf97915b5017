"""The rules of a BackupLocation."""

import re
from functools import partial
from typing import Final

from kubedr_server.admission import names, schedules, schema, urls
from kubedr_server.admission.facts import NOTHING, Context, Facts, Wanted, listed, missing_keys
from kubedr_server.admission.field import Errors, FieldError, same
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
from kubedr_server.api.backup_location import (
    CA_BUNDLE_KEY,
    CREDENTIAL_KEYS,
    REPOSITORY_PASSWORD,
    BackupLocationSpec,
)
from kubedr_server.api.kinds import BACKUP_LOCATION

_PLACE: Final = ("url", "bucketName", "prefix", "repository")
"""Together they say which repository this is."""

_USER_INFO: Final = re.compile(r"//[^/?#]*@")
_EXAMPLE: Final = "https://s3.example.com:9000"
_PROXY_EXAMPLE: Final = "http://proxy.example.com:3128"

_SCHEMA: Final = schema.rule_of(BackupLocationSpec)
_BUCKET_SCHEMA: Final = schema.requiring(_SCHEMA, ("url", "bucketName"))
"""Without `repository`, a bucket must be named."""

_SCHEDULES: Final = ("healthSchedule", "checkSchedule", "pruneSchedule")


def validate(new: Object, old: Object | None, context: Context) -> tuple[list[FieldError], list[str]]:
    """Judge a new or changed location."""
    errors = Errors()
    named = new.get("spec")
    elsewhere = isinstance(named, dict) and bool(named.get("repository"))
    spec = check_spec(_SCHEMA if elsewhere else _BUCKET_SCHEMA, new, errors)
    _check_which_place(spec, errors)
    _check_url(spec, errors)
    check_text(spec, "repository", names.repository, errors)
    _check_proxy(spec, errors)
    for field in _SCHEDULES:
        check_text(spec, field, schedules.problem, errors)
    check_text(spec, "bucketName", names.bucket, errors)
    check_object_name(spec, "credentials", errors)
    check_object_name(spec, "caSecret", errors)
    check_text(spec, "prefix", names.folder, errors)
    check_text(spec, "region", names.region, errors)
    if spec.get("caSecret") and spec.get("insecureSkipTLSVerify") is True:
        errors.forbidden(
            SPEC.child("insecureSkipTLSVerify"),
            "contradicts caSecret, which names the certificates to check with: remove one of the two",
        )
    _check_place_is_kept(spec, old, context, errors)
    return errors.items, _warnings(spec, context.facts)


def _check_which_place(spec: Object, errors: Errors) -> None:
    """Check that a repository of another kind is not described as a bucket as well."""
    if not spec.get("repository"):
        return
    for field in ("url", "bucketName", "prefix", "region"):
        if spec.get(field):
            errors.forbidden(
                SPEC.child(field),
                "has no meaning beside repository, which names the whole place: remove one of the two",
            )


def _check_proxy(spec: Object, errors: Errors) -> None:
    proxy = text_of(spec, "proxy", errors)
    if proxy is None:
        return
    try:
        urls.parse(proxy, ("http", "https"), _PROXY_EXAMPLE)
    except urls.URLError as error:
        errors.invalid(SPEC.child("proxy"), _USER_INFO.sub("//…@", proxy), str(error))


def _check_url(spec: Object, errors: Errors) -> None:
    url = text_of(spec, "url", errors)
    if url is None:
        return
    try:
        urls.parse(url, ("http", "https"), _EXAMPLE)
    except urls.URLError as error:
        # What a person typed before an @ is a password, which must not get into logs by the message.
        errors.invalid(SPEC.child("url"), _USER_INFO.sub("//…@", url), str(error))


def _check_place_is_kept(spec: Object, old: Object | None, context: Context, errors: Errors) -> None:
    records = context.facts.records_of_location
    if old is None or not records:
        return
    for field in _PLACE:
        if not same(spec_of(old).get(field), spec.get(field)) and not errors.touches(SPEC.child(field)):
            errors.invalid(
                SPEC.child(field),
                spec.get(field),
                "field is immutable while MetadataBackupRecords refer to this location, because their "
                f"snapshots are there: {listed(records)}. Make another BackupLocation instead",
            )


def _warnings(spec: Object, facts: Facts) -> list[str]:
    warnings: list[str] = []
    keys = (REPOSITORY_PASSWORD,) if spec.get("repository") else CREDENTIAL_KEYS
    for secret in names_in(spec, "credentials"):
        warnings += missing_keys(facts, secret, keys, "spec.credentials", "the repository waits for it")
    for secret in names_in(spec, "caSecret"):
        warnings += missing_keys(
            facts, secret, (CA_BUNDLE_KEY,), "spec.caSecret", "the repository waits for it"
        )
    url = spec.get("url")
    if spec.get("caSecret") and isinstance(url, str) and url.startswith("http://"):
        warnings.append("spec.caSecret: has no effect: spec.url is http, not https")
    return warnings


def wants(new: Object, old: Object | None) -> Wanted:
    """Say what to look up before `validate`."""
    if not spec_changed(new, old):
        return NOTHING
    moved = old is not None and any(
        not same(spec_of(old).get(field), spec_of(new).get(field)) for field in _PLACE
    )
    name = NAME.find(new)
    return Wanted(
        secrets=frozenset(names_in(spec_of(new), "credentials", "caSecret")),
        users_of_location=name if moved and isinstance(name, str) else None,
    )


def wants_on_delete(old: Object) -> Wanted:
    """Say what to look up before `refuse_delete`."""
    name = NAME.find(old)
    return Wanted(users_of_location=name if isinstance(name, str) else None)


def refuse_delete(_old: Object, facts: Facts) -> str | None:
    """Say which policies and records still need the location."""
    users = []
    if facts.policies_of_location:
        users.append(f"MetadataBackupPolicies {listed(facts.policies_of_location)}")
    if facts.records_of_location:
        users.append(f"MetadataBackupRecords {listed(facts.records_of_location)}")
    return f"{' and '.join(users)} refer to it: delete them first" if users else None


RULES: Final = Rules(
    kind=BACKUP_LOCATION.name,
    plural=BACKUP_LOCATION.plural,
    default=partial(default_spec, BackupLocationSpec),
    validate=validate,
    wants=wants,
    wants_on_delete=wants_on_delete,
    refuse_delete=refuse_delete,
)
