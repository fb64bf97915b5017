"""Admission: the mutating webhooks one after another, the validating ones at once, as the API server does."""

import asyncio
import copy
import logging
import uuid
from collections.abc import Callable
from typing import Any

import jsonpatch

from kubedr_server.local.api.context import Call, Engine, Object
from kubedr_server.local.api.errors import APIError, quote
from kubedr_server.local.api.webhook_call import Answer, CallError, WebhookClient
from kubedr_server.local.api.webhook_match import (
    EXEMPT,
    ConditionError,
    Webhook,
    configured,
    matches_conditions,
    matches_rules,
    matches_selectors,
)

_log = logging.getLogger(__name__)

_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
_GROUPS = ["system:masters", "system:authenticated"]


def _failed(webhook: Webhook, why: object) -> APIError:
    message = f"Internal error occurred: failed calling webhook {quote(webhook.name)}: {why}"
    return APIError(500, "InternalError", message, {"causes": [{"message": message.partition(": ")[2]}]})


def _denied(webhook: Webhook, answer: Answer) -> APIError:
    """Return a refusal: the webhook's own Status, with its name before the message."""
    status = answer.status
    prefix = f"admission webhook {quote(webhook.name)} denied the request"
    why = status.get("message") or status.get("reason")
    message = f"{prefix}: {why}" if why else f"{prefix} without explanation"
    code = int(status.get("code") or 0)
    details = status.get("details")
    return APIError(
        max(code, 400), str(status.get("reason") or ""), message, dict(details) if details else None
    )


class Admission:
    """Calls the webhooks that concern a request."""

    def __init__(self, engine: Engine, client: WebhookClient) -> None:
        self._engine = engine
        self._client = client

    def _review(self, call: Call, operation: str, obj: Object | None, old: Object | None,
                options: dict[str, Any] | None = None) -> Object:  # fmt: skip
        target, resource = call.target, call.target.resource
        meta = (obj or old or {"metadata": {}})["metadata"]
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        plural = {"group": resource.group, "version": resource.version, "resource": resource.plural}
        given: Object = {"kind": _OPTIONS[operation], "apiVersion": "meta.k8s.io/v1"}
        if operation != "DELETE":
            given["fieldManager"] = call.options.field_manager
            given["fieldValidation"] = call.options.field_validation
        review: Object = {
            "uid": str(uuid.UUID(int=self._engine.rng.getrandbits(128), version=4)),
            "kind": kind,
            "resource": plural,
            "requestKind": kind,
            "requestResource": plural,
            "name": target.name or meta.get("name", ""),
            "operation": operation,
            "userInfo": {"username": call.user, "groups": _GROUPS},
            "object": obj,
            "oldObject": old,
            "dryRun": call.options.dry_run,
            "options": given | (options or {}),
        }
        if target.subresource:
            review["subResource"] = review["requestSubResource"] = target.subresource
        if target.namespace:
            review["namespace"] = target.namespace
        return review

    def _concerned(self, kind: str, call: Call, operation: str) -> list[Webhook]:
        if call.target.resource.qualified in EXEMPT:
            return []
        found = configured(self._engine, kind)
        return [webhook for webhook in found if matches_rules(webhook, call, operation)]

    async def _ask(self, webhook: Webhook, call: Call, review: Object) -> Answer | None:
        """Call a webhook if its selectors and conditions match; None if it has nothing to say."""
        objects = [obj for obj in (review["object"], review["oldObject"]) if obj is not None]
        if not matches_selectors(self._engine, webhook, call, objects):
            return None
        try:
            if not matches_conditions(webhook, review):
                return None
            if call.options.dry_run and webhook.spec.get("sideEffects") not in ("None", "NoneOnDryRun"):
                message = f"admission webhook {quote(webhook.name)} does not support dry run"
                raise APIError(400, "BadRequest", message)
            answer = await self._client.call(webhook, review)
        except (CallError, ConditionError) as error:
            if webhook.ignores_failure:
                _log.warning("webhook %s was passed over, as its failurePolicy says: %s", webhook.name, error)
                return None
            raise _failed(webhook, error) from None
        for text in answer.warnings:
            call.warn(text)
        if not answer.allowed:
            raise _denied(webhook, answer)
        return answer

    async def mutate(
        self, call: Call, operation: str, obj: Object, old: Object | None, refresh: Callable[[Object], None]
    ) -> Object:
        """Return the object as the mutating webhooks leave it; `refresh` prunes and defaults it again.

        A webhook that wants it (reinvocationPolicy) sees once more what others changed after it.
        """
        webhooks = self._concerned("mutating", call, operation)
        changed_at: dict[int, int] = {}
        changes = 0
        for turn in (1, 2):
            for index, webhook in enumerate(webhooks):
                if turn == 2 and (
                    webhook.spec.get("reinvocationPolicy") != "IfNeeded" or changed_at.get(index) == changes
                ):
                    continue
                review = self._review(call, operation, copy.deepcopy(obj), old)
                answer = await self._ask(webhook, call, review)
                if answer is not None and answer.patch:
                    patched = self._patched(webhook, obj, answer.patch)
                    refresh(patched)
                    if patched != obj:
                        obj, changes = patched, changes + 1
                changed_at[index] = changes
            if all(seen == changes for seen in changed_at.values()):
                break
        return obj

    def _patched(self, webhook: Webhook, obj: Object, patch: list[Any]) -> Object:
        try:
            result = jsonpatch.JsonPatch(patch).apply(obj)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
            raise _failed(webhook, f"the patch cannot be applied: {error}") from None
        if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
            raise _failed(webhook, "the patch leaves no object")
        return dict(result)

    async def validate(
        self, call: Call, operation: str, obj: Object | None, old: Object | None,
        options: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Raise APIError if a validating webhook refuses; all are asked, the first refusal is told."""
        webhooks = self._concerned("validating", call, operation)
        if not webhooks:
            return
        review = self._review(call, operation, obj, old, options)
        results = await asyncio.gather(
            *(self._ask(webhook, call, review) for webhook in webhooks), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
