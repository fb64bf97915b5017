"""The chart renders what the pure builders say, with helm itself, and refuses wrong values."""

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kubedr_server.manifests.webhooks import (
    ServiceTarget,
    mutating_configuration,
    validating_configuration,
)
from kubedr_server.server import LEASE_NAME
from support.tools import program

CHART = Path(__file__).parents[2] / "charts" / "kubedr"
MODES = ["cert-manager", "self-signed"]
OLDEST_KUBERNETES = "1.30"
"""As Chart.yaml's kubeVersion says."""


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program("helm")), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def render(*sets: str) -> list[dict[str, Any]]:
    options = [part for each in sets for part in ("--set-json", each)]
    done = helm("template", "kubedr", str(CHART), "--namespace", "kubedr-system", *options)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def arguments(objects: list[dict[str, Any]]) -> list[str]:
    deployment = one(objects, "Deployment", "kubedr-server")
    found: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


@pytest.mark.parametrize("mode", MODES)
def test_the_webhook_configurations_are_those_of_the_builders(mode: str) -> None:
    objects = render(f'tls.mode="{mode}"')
    target = ServiceTarget("kubedr-webhook", "kubedr-system")
    for build in (mutating_configuration, validating_configuration):
        wanted = build("kubedr-system-kubedr", target)
        found = one(objects, wanted["kind"], "kubedr-system-kubedr")
        assert found["webhooks"] == wanted["webhooks"]
        annotations = found["metadata"].get("annotations", {})
        injected = annotations.get("cert-manager.io/inject-ca-from")
        assert injected == ("kubedr-system/kubedr-webhook" if mode == "cert-manager" else None)


@pytest.mark.parametrize("mode", MODES)
def test_every_option_that_the_deployment_gives_is_one_that_serve_takes(mode: str) -> None:
    from kubedr_server.cli.serve import serve

    args = arguments(render(f'tls.mode="{mode}"', 'imagePullSecrets=[{"name":"pull"}]'))
    assert args[0] == "serve"
    known = {option for parameter in serve.params for option in parameter.opts}
    assert {each.partition("=")[0] for each in args[1:]} <= known


def test_serve_understands_what_the_deployment_gives() -> None:
    from kubedr_server.cli.serve import serve

    sets = ('imagePullSecrets=[{"name":"a"},{"name":"b"}]', 'runner.image.pullPolicy="Always"')
    args = arguments(render('tls.mode="self-signed"', *sets))
    found = serve.make_context("serve", args[1:]).params
    assert found["runner_image_pull_policy"] == "Always"
    assert found["runner_image_pull_secret"] == ("a", "b")
    assert found["mutating_webhook_config_name"] == "kubedr-system-kubedr"
    assert found["validating_webhook_config_name"] == "kubedr-system-kubedr"
    assert found["self_signed_secret"] == "kubedr-webhook-tls"
    assert found["service"] == "kubedr-webhook"


def test_serve_takes_a_list_of_pull_secrets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from kubedr_server.cli.serve import serve

    monkeypatch.setenv("KUBEDR_RUNNER_IMAGE_PULL_SECRET", "a b")
    monkeypatch.setenv("KUBEDR_RUNNER_IMAGE_PULL_POLICY", "Never")
    found = serve.make_context("serve", [], auto_envvar_prefix="KUBEDR").params
    assert found["runner_image_pull_secret"] == ("a", "b")
    assert found["runner_image_pull_policy"] == "Never"


def test_the_role_names_the_lease_that_the_server_holds() -> None:
    role = one(render(), "Role", "kubedr-server")
    named = [rule for rule in role["rules"] if rule["resources"] == ["leases"] and "resourceNames" in rule]
    assert [rule["resourceNames"] for rule in named] == [[LEASE_NAME]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("everywhere", ["true", "false"])
@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_field_of_every_object(mode: str, everywhere: str, version: str) -> None:
    objects = render(
        f'tls.mode="{mode}"',
        f"allNamespaces={everywhere}",
        'imagePullSecrets=[{"name":"pull"}]',
        'nodeSelector={"disk":"fast"}',
        'podAnnotations={"a":"b"}',
        'podLabels={"c":"d"}',
        'affinity={"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[]}}',
    )
    ours = [each for each in objects if not each["apiVersion"].startswith("cert-manager.io/")]
    assert len(objects) - len(ours) == (4 if mode == "cert-manager" else 0)
    for each in ours:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("issuer", ["{}", '{"name":"my-ca","kind":"ClusterIssuer"}'])
def test_cert_manager_makes_the_secret_that_is_mounted(issuer: str) -> None:
    """Against the fields of cert-manager.io/v1, which no schema here knows."""
    objects = render('tls.mode="cert-manager"', f"tls.certManager.issuerRef={issuer}")
    certificate = one(objects, "Certificate", "kubedr-webhook")
    assert certificate["apiVersion"] == "cert-manager.io/v1"
    assert certificate["spec"] == {
        "secretName": "kubedr-webhook-tls",
        "duration": "2160h",
        "renewBefore": "720h",
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "usages": ["server auth"],
        "dnsNames": ["kubedr-webhook.kubedr-system.svc", "kubedr-webhook.kubedr-system.svc.cluster.local"],
        "issuerRef": json.loads(issuer) or {"name": "kubedr-webhook", "kind": "Issuer"},
    }
    pod = one(objects, "Deployment", "kubedr-server")["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "tls"]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "tls"]
    assert f"--tls-cert-dir={mount['mountPath']}" in arguments(objects)


def test_the_charts_own_issuer_is_a_ca_that_keeps_its_key() -> None:
    """What the API server trusts then stays the same while certificates, and the CA itself, are renewed."""
    objects = render('tls.mode="cert-manager"')
    authority = one(objects, "Certificate", "kubedr-webhook-ca")["spec"]
    assert authority["isCA"]
    assert authority["commonName"], "a CA without a subject is no issuer"
    assert authority["privateKey"]["rotationPolicy"] == "Never"
    assert one(objects, "Issuer", "kubedr-webhook")["spec"] == {"ca": {"secretName": authority["secretName"]}}
    assert one(objects, "Issuer", authority["issuerRef"]["name"])["spec"] == {"selfSigned": {}}


def test_with_an_issuer_of_ones_own_the_chart_makes_none() -> None:
    objects = render('tls.mode="cert-manager"', 'tls.certManager.issuerRef={"name":"my-ca"}')
    issued = [each for each in objects if each["apiVersion"].startswith("cert-manager.io/")]
    assert [(each["kind"], each["metadata"]["name"]) for each in issued] == [
        ("Certificate", "kubedr-webhook")
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("everywhere", ["true", "false"])
def test_the_runner_is_bound_to_no_role(mode: str, everywhere: str) -> None:
    objects = render(f'tls.mode="{mode}"', f"allNamespaces={everywhere}")
    bound = [
        subject["name"]
        for each in objects
        if each["kind"].endswith("RoleBinding")
        for subject in each["subjects"]
    ]
    assert set(bound) == {"kubedr-server"}
    assert one(objects, "ServiceAccount", "kubedr-runner")["automountServiceAccountToken"] is False


def test_no_rule_has_a_wildcard_and_cluster_wide_rules_are_by_name() -> None:
    objects = render('tls.mode="self-signed"')
    for each in objects:
        for rule in each.get("rules", []) if each["kind"] in ("Role", "ClusterRole") else []:
            assert "*" not in json.dumps(rule)
            if each["kind"] == "ClusterRole":
                assert rule["resourceNames"]


def test_with_all_namespaces_the_server_is_not_limited_to_its_own() -> None:
    assert "--watch-namespace=kubedr-system" in arguments(render())
    assert not [each for each in arguments(render("allNamespaces=true")) if "watch-namespace" in each]


def test_an_image_is_named_by_its_digest_where_there_is_one() -> None:
    digest = "sha256:" + "a" * 64
    assert f"--runner-image=backup@{digest}" in arguments(
        render(f'runner.image={{"repository":"backup","digest":"{digest}"}}')
    )


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ('tls.mode="none"', "/tls/mode"),
        ("webhooks.timeoutSeconds=30", "/webhooks/timeoutSeconds"),
        ("replicaCount=0", "/replicaCount"),
        ('webhooks.failurepolicy="Fail"', "failurepolicy"),
        ('image.digest="sha256:abc"', "/image/digest"),
        ("monitoring.prometheusRule.enable=true", "enable"),
    ],
)
def test_wrong_values_are_refused_by_name(values: str, named: str) -> None:
    done = helm("template", "kubedr", str(CHART), "--set-json", values)
    assert done.returncode != 0
    assert named in done.stderr


def test_helm_lint_finds_nothing_wrong() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr
