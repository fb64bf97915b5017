"""From a review to its answer: which rules apply, and what they say."""

import logging
from typing import Any, Final

from kubedr_server.admission import (
    backup_location,
    metadata_backup_policy,
    metadata_backup_record,
    metadata_restore,
    patch,
    review,
    status,
)
from kubedr_server.admission.facts import Context
from kubedr_server.admission.field import unless_untouched
from kubedr_server.admission.references import References, look_up
from kubedr_server.admission.review import Request, WrongReviewError
from kubedr_server.admission.rules import Rules
from kubedr_server.api.group import GROUP, VERSION

logger = logging.getLogger(__name__)

RULES: Final[dict[str, Rules]] = {
    module.RULES.kind: module.RULES
    for module in (backup_location, metadata_backup_policy, metadata_backup_record, metadata_restore)
}
ALLOW_DELETE: Final = f"{GROUP}/allow-delete"
"""The annotation, `"true"`, that lets an object be deleted although others refer to it."""


class Judge:
    """Answers reviews by the rules of their kinds."""

    def __init__(self, references: References | None = None, *, reference_timeout: float = 1.0) -> None:
        self._references = references
        self._reference_timeout = reference_timeout

    async def mutate(self, request: Request, _time_left: float) -> dict[str, Any]:
        """Answer with the patch that brings in the defaults."""
        rules = _rules_for(request)
        if rules is None or request.new is None or request.is_being_deleted:
            return review.allow(request.uid, warnings=_unknown(request))
        return review.allow(request.uid, patch=patch.additions(request.new, rules.default(request.new)))

    async def validate(self, request: Request, time_left: float) -> dict[str, Any]:
        """Answer whether the object is right. `time_left` is in seconds."""
        rules = _rules_for(request)
        if rules is None:
            return review.allow(request.uid, warnings=_unknown(request))
        if request.is_being_deleted:
            return review.allow(request.uid)
        patience = min(self._reference_timeout, time_left)
        if request.operation == "DELETE":
            return await self._validate_delete(rules, request, patience)
        if request.new is None:
            return review.allow(request.uid)
        # Objects that come without defaults are judged as they will be stored.
        new = rules.default(request.new)
        wanted = rules.wants(new, request.old)
        facts = await look_up(self._references, request.namespace, wanted, patience)
        errors, warnings = rules.validate(new, request.old, Context(request.object_name, facts))
        if request.old is not None:
            errors = unless_untouched(errors, request.new, request.old)
        if errors:
            refusal = status.invalid(rules.kind, request.object_name, errors)
            return review.deny(request.uid, refusal, warnings=warnings)
        return review.allow(request.uid, warnings=warnings)

    async def _validate_delete(self, rules: Rules, request: Request, patience: float) -> dict[str, Any]:
        old = request.old
        if old is None or _may_be_deleted(old):
            return review.allow(request.uid)
        facts = await look_up(self._references, request.namespace, rules.wants_on_delete(old), patience)
        why = rules.refuse_delete(old, facts)
        if why is None:
            return review.allow(request.uid)
        advice = f'{why} (or set the annotation {ALLOW_DELETE}: "true")'
        return review.deny(request.uid, status.forbidden(rules.plural, request.object_name, advice))


def _rules_for(request: Request) -> Rules | None:
    """Return the rules of the kind; None where there is nothing to judge. Raises WrongReviewError."""
    if not request.is_ours or request.sub_resource or request.operation == "CONNECT":
        return None
    rules = RULES.get(request.kind)
    if rules is None or request.version != VERSION:
        raise WrongReviewError(
            f"this server does not know {request.kind[:64]} of {GROUP}/{request.version[:64]}: "
            "is it older than the CRDs?"
        )
    return rules


def _unknown(request: Request) -> list[str]:
    if request.is_ours:
        return []
    return [f"kubedr does not judge objects of the group '{request.group[:64]}': check the webhook's rules"]


def _may_be_deleted(old: dict[str, Any]) -> bool:
    metadata = old.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(annotations, dict) and annotations.get(ALLOW_DELETE) == "true"
