"""The one way in which a step of a run says that it cannot go on.

Every known way to fail has a reason (for programs: the condition, the exit code) and a sentence (for
people: what is wrong, where, what to do next). Whatever else is raised is a fault of the runner
itself and is reported as one. A message never holds a secret.
"""

from kubedr_server.api.conditions import Reason


class RunFailureError(Exception):
    """A run cannot succeed. `reason` is a key of `contract.EXIT_CODES`, `message` one or two sentences."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason.value}: {message}")
        self.reason = reason
        self.message = message
