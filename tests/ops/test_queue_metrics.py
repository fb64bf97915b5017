from prometheus_client import CollectorRegistry, generate_latest

from kubedr_server.ops.queue_metrics import (
    ClientMetrics,
    InformerMetrics,
    LeaderMetrics,
    QueueMetrics,
    ReconcileMetrics,
)


def test_a_queue_is_measured_in_the_names_of_client_go() -> None:
    registry = CollectorRegistry()
    metrics = QueueMetrics(registry)
    queue = metrics.queue("policies")
    metrics.watch_longest("policies", lambda: 12.0)
    queue.depth(3)
    queue.added()
    queue.retried()
    queue.started(0.2)
    queue.finished(1.5)
    name = {"name": "policies"}
    assert registry.get_sample_value("workqueue_depth", name) == 3
    assert registry.get_sample_value("workqueue_adds_total", name) == 1
    assert registry.get_sample_value("workqueue_retries_total", name) == 1
    assert registry.get_sample_value("workqueue_queue_duration_seconds_sum", name) == 0.2
    assert registry.get_sample_value("workqueue_work_duration_seconds_sum", name) == 1.5
    assert registry.get_sample_value("workqueue_longest_running_processor_seconds", name) == 12


def test_two_queues_share_the_metrics() -> None:
    registry = CollectorRegistry()
    metrics = QueueMetrics(registry)
    metrics.queue("one").added()
    metrics.queue("two").added()
    assert registry.get_sample_value("workqueue_adds_total", {"name": "two"}) == 1


def test_requests_are_counted_by_code_host_and_method() -> None:
    registry = CollectorRegistry()
    metrics = ClientMetrics(registry)
    metrics.request_finished("GET", "10.0.0.1:443", "200", 0.01)
    metrics.request_finished("GET", "10.0.0.1:443", "<error>", 10.0)
    metrics.request_limited("GET", "10.0.0.1:443", 0.3)
    found = registry.get_sample_value(
        "rest_client_requests_total", {"code": "200", "host": "10.0.0.1:443", "method": "GET"}
    )
    assert found == 1
    labels = {"host": "10.0.0.1:443", "verb": "GET"}
    assert registry.get_sample_value("rest_client_request_duration_seconds_count", labels) == 2
    assert registry.get_sample_value("rest_client_rate_limiter_duration_seconds_sum", labels) == 0.3


def test_informers_and_leader_are_measured() -> None:
    registry = CollectorRegistry()
    informer, leader = InformerMetrics(registry), LeaderMetrics(registry)
    informer.watch_ended("configmaps", "Gone")
    informer.listed("configmaps", 0.5)
    informer.cached("configmaps", 10)
    leader.leads("kubedr", True)
    labels = {"resource": "configmaps"}
    assert registry.get_sample_value("kubedr_informer_watches_ended_total", {**labels, "reason": "Gone"}) == 1
    assert registry.get_sample_value("kubedr_informer_objects", labels) == 10
    assert registry.get_sample_value("leader_election_master_status", {"name": "kubedr"}) == 1
    leader.leads("kubedr", False)
    assert registry.get_sample_value("leader_election_master_status", {"name": "kubedr"}) == 0


def test_reconciles_are_measured_in_the_names_of_controller_runtime() -> None:
    registry = CollectorRegistry()
    metrics = ReconcileMetrics(registry)
    metrics.workers("policy", 4)
    metrics.began("policy")
    label = {"controller": "policy"}
    assert registry.get_sample_value("controller_runtime_active_workers", label) == 1
    metrics.ended("policy", "error", 0.1, terminal=True)
    assert registry.get_sample_value("controller_runtime_active_workers", label) == 0
    assert registry.get_sample_value("controller_runtime_reconcile_errors_total", label) == 1
    assert registry.get_sample_value("controller_runtime_terminal_reconcile_errors_total", label) == 1
    assert registry.get_sample_value("controller_runtime_reconcile_total", {**label, "result": "error"}) == 1


def test_all_of_it_can_be_scraped_from_one_registry() -> None:
    registry = CollectorRegistry()
    for metrics in (QueueMetrics, ClientMetrics, InformerMetrics, LeaderMetrics, ReconcileMetrics):
        metrics(registry)
    assert b"workqueue_depth" in generate_latest(registry)
