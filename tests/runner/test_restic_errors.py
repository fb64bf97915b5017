"""restic's words on standard error, as they were seen, and what they mean."""

import io
from datetime import UTC, datetime

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log
from kubedr_server.runner.restic_errors import RetryWatch, diagnose, ended
from kubedr_server.runner.restic_messages import exit_error

ENDPOINT = "http://127.0.0.1:9000"


class Watched:
    """A RetryWatch on a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stream = io.StringIO()
        log = Log(self.stream, lambda: datetime(2026, 1, 1, tzinfo=UTC))
        self.watch = RetryWatch(ENDPOINT, "bucket", log, lambda: self.now)

    def line(self, cause: str) -> None:
        self.watch(f"Stat(<config/>) returned error, retrying after 932.07ms: Stat: {cause}")


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("The access key ID you provided does not exist in our records.", Reason.WRONG_S3_CREDENTIALS),
        (
            "The request signature we calculated does not match the signature you provided. Check your key.",
            Reason.WRONG_S3_CREDENTIALS,
        ),
        ("Access Denied.", Reason.S3_ACCESS_DENIED),
        ("The specified bucket does not exist", Reason.BUCKET_NOT_FOUND),
        (
            'Get "https://127.0.0.1/b/": tls: failed to verify certificate: x509: unknown authority',
            Reason.STORAGE_TLS_FAILED,
        ),
        ("Client sent an HTTP request to an HTTPS server.", Reason.STORAGE_TLS_FAILED),
        ("Storage backend has reached its minimum free drive threshold.", Reason.REPOSITORY_FAILED),
        ("Error response code QuotaExceeded.", Reason.REPOSITORY_FAILED),
    ],
)
def test_a_refusal_ends_the_run_at_its_first_line(cause: str, reason: Reason) -> None:
    with pytest.raises(RunFailureError) as caught:
        Watched().line(cause)
    assert caught.value.reason is reason


def test_a_storage_that_is_away_gets_a_few_seconds() -> None:
    watched = Watched()
    for _ in range(4):
        watched.line("dial tcp 127.0.0.1:9000: connect: connection refused")
        watched.now += 4
    with pytest.raises(RunFailureError, match="cannot be reached: connection refused") as caught:
        watched.line("dial tcp 127.0.0.1:9000: connect: connection refused")
    assert caught.value.reason is Reason.STORAGE_UNREACHABLE


def test_a_storage_that_came_back_is_not_held_against_it() -> None:
    watched = Watched()
    for _ in range(5):
        watched.line("dial tcp 127.0.0.1:9000: connect: connection refused")
        watched.now += 60


def test_what_may_pass_is_told_in_the_log_and_left_to_restic() -> None:
    watched = Watched()
    for _ in range(20):
        watched.line("Please reduce your request rate.")
        watched.now += 30
    assert watched.stream.getvalue().count("warning: restic is trying again: Stat(<config/>)") == 20


def test_a_line_that_tells_no_retry_means_nothing() -> None:
    watched = Watched()
    watched.watch("some file is called connection refused: Access Denied.")
    assert watched.stream.getvalue() == ""


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (1, "unable to open config file: Stat: Access Denied.", Reason.S3_ACCESS_DENIED),
        (1, "write /scratch/restic-temp-pack: no space left on device", Reason.DISK_FULL),
        (1, "write /scratch/restic-temp-pack: input/output error", Reason.DISK_FAILED),
        (1, "ciphertext verification failed", Reason.REPOSITORY_FAILED),
        (1, "parsing repository location failed: invalid backend", Reason.PROGRAM_MISSING),
        (10, "repository does not exist", Reason.REPOSITORY_NOT_FOUND),
        (11, "repository is already locked by PID 7 on node-1 by root (UID 0)", Reason.REPOSITORY_LOCKED),
        (12, "wrong password or no key found", Reason.WRONG_REPOSITORY_PASSWORD),
        (130, "context canceled", Reason.CANCELLED),
        (-9, "", Reason.REPOSITORY_FAILED),
        (99, "something new", Reason.REPOSITORY_FAILED),
        (1, "config or key 5a0f is damaged: ciphertext verification failed", Reason.REPOSITORY_FAILED),
    ],
)
def test_each_exit_code_has_its_reason(code: int, message: str, reason: Reason) -> None:
    failure = ended(code, message, ENDPOINT, "bucket", "s3:http://127.0.0.1:9000/bucket")
    assert failure.reason is reason
    assert failure.reason in EXIT_CODES
    if code == 11:
        assert "locked by PID 7 on node-1 by root" in failure.message


def test_restics_last_word_is_found_among_its_lines() -> None:
    stderr = (
        'Load(<snapshot/938a>) failed\n{"message_type":"exit_error","code":12,"message":"Fatal: wrong"}\n'
    )
    assert exit_error(stderr) == "wrong"
    assert exit_error("one\n\ntwo\n") == "one\ntwo"


@pytest.mark.parametrize(
    ("cause", "reason", "words"),
    [
        (
            "unexpected HTTP response (401): 401 Unauthorized",
            Reason.WRONG_S3_CREDENTIALS,
            "RESTIC_REST_PASSWORD",
        ),
        (
            "unexpected HTTP response (403): 403 Forbidden",
            Reason.S3_ACCESS_DENIED,
            "list, read, write and delete",
        ),
        (
            'Head "http://u:***@h:1/x": dial tcp: lookup h: no such host',
            Reason.STORAGE_UNREACHABLE,
            "port 8000",
        ),
        ("dial tcp 127.0.0.1:1: connect: connection refused", Reason.STORAGE_UNREACHABLE, "spec.repository"),
    ],
)
def test_other_storage_than_s3_is_told_in_its_own_words(cause: str, reason: Reason, words: str) -> None:
    failure = diagnose(cause, "rest:https://backup.example.com:8000/cluster", "")
    assert failure is not None
    assert failure.reason is reason
    assert words in failure.message
    assert "access_key" not in failure.message
    elsewhere = diagnose(cause, "azure:container:/", "")
    assert elsewhere is not None
    assert "azure:container" in elsewhere.message


def test_a_proxy_that_is_away_is_not_taken_for_the_storage() -> None:
    cause = "proxyconnect tcp: dial tcp 10.0.0.7:3128: connect: connection refused"
    failure = diagnose(cause, ENDPOINT, "bucket")
    assert failure is not None
    assert failure.reason is Reason.STORAGE_UNREACHABLE
    assert "10.0.0.7:3128" in failure.message
    assert "spec.proxy" in failure.message
