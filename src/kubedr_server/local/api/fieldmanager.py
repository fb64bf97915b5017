"""Placeholder to be widened."""

from kubedr_server.local.api.context import Call, Engine, Object


class FieldManager:
    """Tracks who set which field."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def track_update(self, call: Call, obj: Object, old: Object | None) -> None:
        """Record a write."""

    def apply_new(self, call: Call, config: Object) -> Object:
        """Apply to nothing."""
        return config

    def apply(self, call: Call, config: Object, live: Object) -> Object:
        """Apply."""
        return config
