"""What a reconciliation ends with: the answer says when the object is looked at again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """Nothing is left to do until something changes."""


@dataclass(frozen=True)
class RequeueAfter:
    """All is well, and time itself will change something: look again after `seconds`."""

    seconds: float


@dataclass(frozen=True)
class Retry:
    """It did not work and may work later: try again, with backoff, or after what the server asks for."""

    reason: str
    after: float | None = None


@dataclass(frozen=True)
class Permanent:
    """It did not work and will not, until someone changes the object, a role or a setting.

    Changes of roles and quotas are not heard of: `look_again` is when to see, in seconds.
    """

    reason: str
    look_again: float | None = None


Outcome = Done | RequeueAfter | Retry | Permanent
