"""What to do about a location now. Pure: see `LocationState` for all that it depends on."""

from datetime import datetime

from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.decision import Decision
from kubedr_server.controllers.location import initialise, maintenance
from kubedr_server.controllers.location.state import LocationState
from kubedr_server.controllers.secrets import lack
from kubedr_server.manifests.settings import RunnerSettings


def decide(state: LocationState, runner: RunnerSettings, attempts: Backoff, now: datetime) -> Decision:
    """Return what to do about a location now."""
    missing = lack(state.secrets, state.location.metadata.namespace)
    if missing is not None:
        return initialise.without_secrets(state.location, missing, now)
    if initialise.is_initialised(state):
        return maintenance.decide(state, runner, attempts, now)
    return initialise.decide(state, runner, attempts, now)
