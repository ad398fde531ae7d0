"""The chart on a real API server: installed, upgraded, rolled back, uninstalled; and its pods."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.api_server import CHART, ROOT, ApiServer, everything_on, running
from tests.tools import built

pytestmark = pytest.mark.faults
CLAIMS = "/api/v1/namespaces/{}/persistentvolumeclaims"
NODE = "/apis/apps/v1/namespaces/{}/statefulsets/modelmora-node"
GATEWAY = "/apis/apps/v1/namespaces/{}/deployments/modelmora-gateway"
SCALED = "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects/modelmora-node"
SHARED = ("--set", "cache.mode=shared")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running(tmp_path_factory.mktemp("api-server")) as server:
        yield server


@pytest.fixture
def namespace(server: ApiServer, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, which lets in only pods that may do nothing."""
    name: str = request.node.name.replace("_", "-").replace("[", "-").strip("]")
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    what = {"metadata": {"name": name, "labels": enforced}}
    server.make("/api/v1/namespaces", what).raise_for_status()
    return name


class Helm:
    """helm, towards one namespace."""

    def __init__(self, server: ApiServer, namespace: str, home: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(server.kubeconfig),
            "HELM_NAMESPACE": namespace,
            "HOME": str(home),
        }

    def run(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(built("helm")), verb, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def __call__(self, verb: str, *arguments: str) -> str:
        done = self.run(verb, *arguments)
        assert done.returncode == 0, done.stderr
        printed: str = done.stdout
        return printed


@pytest.fixture
def helm(server: ApiServer, namespace: str, tmp_path: Path) -> Helm:
    return Helm(server, namespace, tmp_path)


def spec(server: ApiServer, path: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(path)["spec"]
    return found


def test_life_of_a_release(server: ApiServer, namespace: str, helm: Helm) -> None:
    notes = helm("install", "modelmora", str(CHART))
    assert "kubectl" in notes
    node, gateway = NODE.format(namespace), GATEWAY.format(namespace)
    first = spec(server, node), spec(server, gateway)
    assert first[0]["replicas"] == 2

    helm("upgrade", "modelmora", str(CHART), *everything_on())
    assert [each["type"] for each in spec(server, SCALED.format(namespace))["triggers"]] == [
        "kafka"
    ] * 4
    assert spec(server, node)["template"]["spec"]["initContainers"][0]["args"][0] == "install"

    helm(
        "upgrade", "modelmora", str(CHART), "--reset-values", "--set", "node.replicas=5,image.tag=b"
    )
    third = spec(server, node)
    assert third["replicas"] == 5
    assert third["template"]["spec"]["containers"][0]["image"] == "modelmora:b"
    assert server.client.get(SCALED.format(namespace)).status_code == 404

    helm("rollback", "modelmora", "1")
    assert (spec(server, node), spec(server, gateway)) == first
    history = json.loads(helm("history", "modelmora", "--output", "json"))
    assert [each["status"] for each in history] == ["superseded"] * 3 + ["deployed"]

    helm("uninstall", "modelmora")
    for path in (node, gateway, f"/api/v1/namespaces/{namespace}/configmaps/modelmora"):
        assert server.client.get(path).status_code == 404


def test_shared_cache_stays_when_the_release_goes(
    server: ApiServer, namespace: str, helm: Helm
) -> None:
    helm("install", "modelmora", str(CHART), *everything_on(), *SHARED)
    jobs = server.get(f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
    assert len(jobs) == 1
    helm(
        "upgrade",
        "modelmora",
        str(CHART),
        *everything_on(),
        *SHARED,
        "--set",
        "models[0].revision=v2",
    )
    others = server.get(f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
    assert {j["metadata"]["name"] for j in others}.isdisjoint(j["metadata"]["name"] for j in jobs)
    helm("uninstall", "modelmora")
    (claim,) = server.get(CLAIMS.format(namespace))["items"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_volumes_of_nodes_cannot_be_changed(server: ApiServer, namespace: str, helm: Helm) -> None:
    """Nodes run on until what the page on Kubernetes says is done."""
    helm("install", "modelmora", str(CHART))
    before = spec(server, NODE.format(namespace))
    done = helm.run("upgrade", "modelmora", str(CHART), "--set", "cache.size=80Gi")
    assert done.returncode != 0
    assert "field is immutable" in done.stderr
    assert spec(server, NODE.format(namespace)) == before
    orphans = {"propagationPolicy": "Orphan"}
    server.client.delete(NODE.format(namespace), params=orphans).raise_for_status()
    # The garbage collector, which no controller is here to be, ends a deletion that orphans.
    server.client.patch(
        NODE.format(namespace),
        json={"metadata": {"finalizers": None}},
        headers={"Content-Type": "application/merge-patch+json"},
    ).raise_for_status()
    helm("upgrade", "modelmora", str(CHART), "--set", "cache.size=80Gi")
    claims = spec(server, NODE.format(namespace))["volumeClaimTemplates"]
    assert [each["spec"]["resources"]["requests"]["storage"] for each in claims] == ["5Gi", "80Gi"]


@pytest.mark.parametrize("options", ["plain", "everything", "shared"])
def test_pods_may_run_where_pods_may_do_nothing(
    server: ApiServer, namespace: str, helm: Helm, options: str
) -> None:
    """Kubernetes' own level `restricted`; no controller is here to make them, so the test does."""
    arguments = {"plain": [], "everything": everything_on(), "shared": [*everything_on(), *SHARED]}
    made = helm("template", "modelmora", str(CHART), *arguments[options])
    pods = [
        m["spec"]["template"]
        for m in yaml.safe_load_all(made)
        if m and "template" in m.get("spec", ())
    ]
    assert len(pods) == (3 if options == "shared" else 2)
    for i, pod in enumerate(pods):
        for claim in ("data", "cache"):
            named: dict[str, Any] = {"name": claim, "emptyDir": {}}
            if claim not in {volume["name"] for volume in pod["spec"]["volumes"]}:
                pod["spec"]["volumes"].append(named)
        what = {
            "metadata": {"name": f"pod-{i}", "labels": pod["metadata"]["labels"]},
            "spec": pod["spec"],
        }
        answer = server.make(f"/api/v1/namespaces/{namespace}/pods", what, dryRun="All")
        assert answer.is_success, answer.text
    what["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    answer = server.make(f"/api/v1/namespaces/{namespace}/pods", what, dryRun="All")
    assert answer.status_code == 403


def test_plain_manifests_are_taken(server: ApiServer, namespace: str) -> None:
    paths = {
        "ConfigMap": "/api/v1/namespaces/{}/configmaps",
        "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
        "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
        "Service": "/api/v1/namespaces/{}/services",
        "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
        "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    }
    plain = (ROOT / "k8s" / "modelmora.yaml").read_text()
    for manifest in filter(None, yaml.safe_load_all(plain)):
        answer = server.make(paths[manifest["kind"]].format(namespace), manifest)
        assert answer.is_success, answer.text


def test_server_is_strict(server: ApiServer, namespace: str) -> None:
    wrong = {"metadata": {"name": "a"}, "data": {}, "dta": {}}
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        server.make(f"/api/v1/namespaces/{namespace}/configmaps", wrong).raise_for_status()
