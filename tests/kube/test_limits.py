import random

from kubedr_server.kube.backoff import FullJitter
from kubedr_server.kube.limits import TokenBucket


def test_a_burst_goes_through_at_once_and_then_the_rate_holds() -> None:
    now = 0.0
    bucket = TokenBucket(10, 3, clock=lambda: now)
    assert [bucket.reserve() for _ in range(5)] == [0, 0, 0, 0.1, 0.2]
    now = 10.0
    assert [bucket.reserve() for _ in range(4)] == [0, 0, 0, 0.1], "quiet time earns one burst, not more"


def test_a_rate_of_zero_is_no_limit() -> None:
    bucket = TokenBucket(0, 1, clock=lambda: 0.0)
    assert [bucket.reserve() for _ in range(1000)] == [0.0] * 1000


def test_delays_double_up_to_the_cap_with_jitter_and_begin_again() -> None:
    backoff = FullJitter(1, 8, random.Random(7))
    delays = [backoff.next() for _ in range(6)]
    assert all(
        bound * 0.05 <= delay <= bound for bound, delay in zip([1, 2, 4, 8, 8, 8], delays, strict=True)
    )
    assert len(set(delays)) == 6
    backoff.reset()
    assert backoff.next() <= 1
