"""Looks up what a review wants to know of other objects, in the time there is."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from kubedr_server.admission.facts import Facts, ReferencedKind, Wanted

logger = logging.getLogger(__name__)


class References(Protocol):
    """Reads other objects of the cluster. Every method may raise: then nothing is known."""

    async def secret_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        """Return the keys of a Secret that have a value; None if there is no such Secret."""

    async def exists(self, kind: ReferencedKind, namespace: str, name: str) -> bool:
        """Return whether an object exists."""

    async def policies_of_location(self, namespace: str, location: str) -> tuple[str, ...]:
        """Return the policies whose destination is the location."""

    async def records_of_location(self, namespace: str, location: str) -> tuple[str, ...]:
        """Return the records whose snapshots are in the location."""

    async def restores_of_record(self, namespace: str, record: str) -> tuple[str, ...]:
        """Return the restores of the record that have not ended."""


async def look_up(references: References | None, namespace: str, wanted: Wanted, patience: float) -> Facts:
    """Answer what is wanted, all at once, in at most `patience` seconds; leave out what fails or is late."""
    facts = Facts()
    if references is None or not wanted or patience <= 0:
        return facts
    questions: dict[Any, Coroutine[Any, Any, Any]] = {}
    for secret in wanted.secrets:
        questions["secret", secret] = references.secret_keys(namespace, secret)
    for kind, name in wanted.objects:
        questions["exists", kind, name] = references.exists(kind, namespace, name)
    if wanted.users_of_location:
        location = wanted.users_of_location
        questions["policies"] = references.policies_of_location(namespace, location)
        questions["records"] = references.records_of_location(namespace, location)
    if wanted.restores_of_record:
        questions["restores"] = references.restores_of_record(namespace, wanted.restores_of_record)
    answers = await _ask(questions, patience)
    return Facts(
        secret_keys={key[1]: value for key, value in answers.items() if key[0] == "secret"},
        exists={(key[1], key[2]): value for key, value in answers.items() if key[0] == "exists"},
        policies_of_location=answers.get("policies", ()),
        records_of_location=answers.get("records", ()),
        restores_of_record=answers.get("restores", ()),
    )


async def _ask(questions: dict[Any, Coroutine[Any, Any, Any]], patience: float) -> dict[Any, Any]:
    tasks = {key: asyncio.ensure_future(question) for key, question in questions.items()}
    try:
        await asyncio.wait(tasks.values(), timeout=patience)
    finally:
        for task in tasks.values():
            task.cancel()
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
    answers = {}
    for key, result in zip(tasks, results, strict=True):
        if isinstance(result, BaseException):
            logger.debug("a reference could not be looked up", extra={"error": type(result).__name__})
        else:
            answers[key] = result
    return answers
