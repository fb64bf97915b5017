"""How long a runner may work within its Job."""

from hypothesis import given
from hypothesis import strategies as st

from kubedr_server.manifests.pod import runner_deadline


@given(st.integers(min_value=60, max_value=86_400))
def test_a_runner_ends_before_its_job_and_has_most_of_the_time(job_deadline: int) -> None:
    assert job_deadline * 3 // 4 <= runner_deadline(job_deadline) <= job_deadline - 15
