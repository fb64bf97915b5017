"""The alerts: Prometheus takes them, they fire when they should, and the server exports what they ask for."""

import asyncio
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kubedr_server.api import crd
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRDS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    NAMESPACES,
    Resource,
)
from kubedr_server.local.api.server import LocalAPI
from kubedr_server.ops.queue_metrics import ReconcileMetrics
from support.kubedr_objects import NAMESPACE, NOW, location_object, policy_object, record_object, stamp
from support.replica import Replica, settings_for
from support.tools import REPOSITORY_ROOT, program

CHART = REPOSITORY_ROOT / "charts" / "kubedr"
RULES = CHART / "files" / "alerts.yaml"
TESTS = sorted(Path(__file__).parent.glob("alerts_*test.yaml"))
ON = ["monitoring.serviceMonitor.enabled=true", "monitoring.prometheusRule.enabled=true"]

GIVEN_BY_PROMETHEUS = {"cluster", "job"}
"""Labels that no server exports: they are the target's."""


def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return found


ALERTS = {rule["alert"]: (group["name"], rule) for group in groups() for rule in group["rules"]}
METRIC = re.compile(r"\b(?:kubedr|leader_election|rest_client|controller_runtime)_\w+")


def promtool(*arguments: str) -> None:
    command = [str(program("promtool")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def render(*sets: str, release: str = "kubedr") -> list[dict[str, Any]]:
    options = [part for each in sets for part in ("--set-json", each)]
    command = [str(program("helm")), "template", release, str(CHART), "--namespace", NAMESPACE, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def monitoring(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what is for the Prometheus operator, by kind."""
    return {each["kind"]: each for each in objects if each["apiVersion"].startswith("monitoring.coreos.com/")}


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", *map(str, TESTS))


def test_no_alert_is_without_a_test_that_it_fires_and_one_that_it_does_not() -> None:
    tests = [test for file in TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    fire = json.dumps(
        [expected["exp_samples"] for test in tests for expected in test.get("promql_expr_test", [])]
    )
    fire += json.dumps(
        [
            case["alertname"]
            for test in tests
            for case in test.get("alert_rule_test", [])
            if case["exp_alerts"]
        ]
    )
    assert [name for name in ALERTS if name not in fire] == []
    healthy = json.dumps(tests[0]["input_series"])
    asked = {metric for _, rule in ALERTS.values() for metric in METRIC.findall(rule["expr"])}
    assert {metric for metric in asked if f"{metric}{{" not in healthy} == set()


@pytest.mark.parametrize("release", ["kubedr", "another"])
def test_the_chart_makes_a_rule_for_the_operator_of_the_same_file(tmp_path: Path, release: str) -> None:
    sets = [*ON, 'monitoring.prometheusRule.runbookUrl="https://example.com/alerts"']
    rule = monitoring(render(*sets, release=release))["PrometheusRule"]
    wanted = RULES.read_text().replace("docs/alerts.md#", "https://example.com/alerts#")
    job = f'job="{release}-metrics", namespace="{NAMESPACE}"'
    assert rule["spec"] == yaml.safe_load(wanted.replace('job="kubedr-metrics"', job))
    rendered = tmp_path / "rules.yaml"
    rendered.write_text(yaml.safe_dump(rule["spec"]))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES), str(rendered))


def test_the_monitor_finds_the_metrics_port_and_keeps_the_policies_namespaces() -> None:
    objects = render(*ON, 'monitoring.serviceMonitor.labels={"release":"prometheus"}')
    monitor = monitoring(objects)["ServiceMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == {"port": "metrics", "interval": "30s", "honorLabels": True}
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    found = [
        each["metadata"]["name"]
        for each in objects
        if each["kind"] == "Service" and selector <= each["metadata"]["labels"].items()
        for port in each["spec"]["ports"]
        if port["name"] == endpoint["port"]
    ]
    assert found == ["kubedr-metrics"], "the Service's name is the job that the rules ask for"


def test_without_the_operator_nothing_of_it_is_made() -> None:
    assert monitoring(render()) == {}


def test_an_alert_says_how_bad_it_is_and_where_its_page_is() -> None:
    pages = (REPOSITORY_ROOT / "docs" / "alerts.md").read_text()
    for name, (_, rule) in ALERTS.items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{name.lower()}"
        page = pages.partition(f"\n### {name}\n\n*")[2]
        assert page.lower().startswith(rule["labels"]["severity"]), name
    assert re.findall(r"^### (\w+)$", pages, re.MULTILINE) == list(ALERTS)


async def test_the_server_exports_every_metric_and_label_that_an_alert_asks_for(tmp_path: Path) -> None:
    exported = await scraped(tmp_path)
    for name, (group, rule) in ALERTS.items():
        theirs = GIVEN_BY_PROMETHEUS | ({"namespace"} if group == "kubedr-server" else set())
        expr, words = rule["expr"], json.dumps(rule["annotations"])
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", expr) for label in by.split(", ")}
        selected = set(re.findall(r"(\w+)=~?\"", expr))
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= grouped, name
        for metric in METRIC.findall(expr):
            assert metric in exported, f"{name}: the server exports no {metric}"
            assert (grouped | selected) - theirs <= exported[metric], f"{name}: labels of {metric}"


async def scraped(directory: Path) -> dict[str, set[str]]:
    """Run a whole server with one of everything that has metrics; return each metric's labels."""
    async with LocalAPI(directory / "api") as api:
        async with await Client.from_kubeconfig(api.kubeconfig) as client:
            await populate(client)
        replica = Replica(settings_for(api.kubeconfig))
        running = await replica.started()
        try:
            # The last that a policy's reconcile shows, and one of the location's.
            await metrics(running.metrics_port, until="kubedr_recovery_duration_seconds{")
            text = await metrics(running.metrics_port, until="kubedr_location_ready{")
        finally:
            await replica.end()
    # No reconcile fails here.
    failed = CollectorRegistry()
    ReconcileMetrics(failed).ended("metadatabackuppolicy", "error", 1.0)
    found: dict[str, set[str]] = {}
    for part in (text, generate_latest(failed).decode()):
        for family in text_string_to_metric_families(part):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def metrics(port: int, *, until: str) -> str:
    """Return what is scraped, once it has a series."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = await answer.text()
            if f"\n{until}" in text:
                return text
            await asyncio.sleep(0.05)


async def populate(client: Client) -> None:
    """Make a location, and a policy that was backed up and drilled."""
    await client.create(
        NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    )
    for definition in crd.definitions():
        await client.apply(CRDS, definition, field_manager="test")
    record = record_object(status={"certificatesExpire": stamp(NOW), "unrestorableObjects": 3})
    policy = policy_object(drillSchedule="@weekly")
    policy["status"] = {
        "mbrName": record["metadata"]["name"],
        "lastSuccessTime": stamp(datetime.now(UTC)),
        "drillStatus": "Completed",
        "drillTime": stamp(NOW),
        "recoveryDurationSecs": "12.5",
    }
    await make(client, BACKUP_LOCATIONS, location_object())
    await make(client, METADATA_BACKUP_RECORDS, record)
    await make(client, METADATA_BACKUP_POLICIES, policy)


async def make(client: Client, resource: Resource, obj: dict[str, Any]) -> None:
    """Create an object with its status."""
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace")}
    await client.create(resource, {**obj, "metadata": metadata})
    if "status" in obj:
        body = {"status": obj["status"]}
        await client.patch(resource, metadata["namespace"], metadata["name"], body, subresource="status")
