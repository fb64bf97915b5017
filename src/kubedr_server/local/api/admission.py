"""Placeholder to be widened."""

from typing import Any

from kubedr_server.local.api.context import Call, Object


class Admission:
    """Calls the webhooks."""

    async def mutate(self, call: Call, operation: str, obj: Object, old: Object | None) -> Object:
        """Return the object as the mutating webhooks leave it."""
        return obj

    async def validate(
        self, call: Call, operation: str, obj: Object | None, old: Object | None,
        options: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Raise APIError if a webhook refuses."""
