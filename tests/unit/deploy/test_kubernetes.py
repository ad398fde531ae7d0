"""k8s/: valid for Kubernetes, locked down, and in agreement with the settings."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelmora.access.binding import check_binding
from modelmora.access.files import KeyFile, keyring_of
from modelmora.cli.app import main
from modelmora.errors import ConfigurationError
from modelmora.settings import Settings, load_settings

K8S = Path(__file__).parents[3] / "k8s"
VERSION = "1.37"


def read_manifests() -> list[dict[str, Any]]:
    return [
        manifest
        for path in sorted(K8S.glob("*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text())
    ]


def name_of(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


MANIFESTS = {name_of(manifest): manifest for manifest in read_manifests()}
DEPLOYMENTS = {name: m for name, m in MANIFESTS.items() if m["kind"] == "Deployment"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the ConfigMap's file says, read as a process of the cluster reads it."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "modelmora.yaml"
    config.write_text(MANIFESTS["ConfigMap/modelmora"]["data"]["modelmora.yaml"])
    return load_settings(config)


def test_what_there_is() -> None:
    assert set(MANIFESTS) == {
        "ConfigMap/modelmora",
        "Deployment/modelmora-gateway",
        "Deployment/modelmora-node",
        "PodDisruptionBudget/modelmora-gateway",
        "Service/modelmora",
    }


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_schema(name: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], VERSION, strict=True)


def test_schema_sees_a_typing_error() -> None:
    broken = copy.deepcopy(MANIFESTS["Deployment/modelmora-node"])
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_locked_down(name: str) -> None:
    pod = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} == set(container["resources"])
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_selectors_meet_labels(name: str) -> None:
    labels = DEPLOYMENTS[name]["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENTS[name]["spec"]["selector"]["matchLabels"] == labels
    assert DEPLOYMENTS[name]["metadata"]["labels"] == labels


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_mounts_meet_volumes(name: str, settings: Settings) -> None:
    pod = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    # The root is read-only: the data folder and /tmp are the only places to write.
    assert mounts["data"] == str(settings.data_dir)
    assert mounts["tmp"] == "/tmp"
    config = container["args"][container["args"].index("--config") + 1]
    assert config == f"{mounts['config']}/modelmora.yaml"


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_probes(name: str, settings: Settings) -> None:
    (container,) = DEPLOYMENTS[name]["spec"]["template"]["spec"]["containers"]
    role = container["args"][container["args"].index("--role") + 1]
    port = {"node": settings.node_http_port, "gateway": settings.http_port}[role]
    assert {"name": "http", "containerPort": port} in container["ports"]
    paths = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert paths == {
        "startup": {"path": "/health/live", "port": "http"},
        "liveness": {"path": "/health/live", "port": "http"},
        "readiness": {"path": "/health/ready", "port": "http"},
    }


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_arguments_are_understood(name: str) -> None:
    (container,) = DEPLOYMENTS[name]["spec"]["template"]["spec"]["containers"]
    assert main([*container["args"], "--help"]) == 0


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_time_to_drain(name: str, settings: Settings) -> None:
    pod = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.timing.stop_s


def test_nodes_that_come_and_go_are_dynamic_members() -> None:
    (container,) = MANIFESTS["Deployment/modelmora-node"]["spec"]["template"]["spec"]["containers"]
    assert "--dynamic-member" in container["args"]


def test_service_leads_to_the_gateway(settings: Settings) -> None:
    service = MANIFESTS["Service/modelmora"]["spec"]
    pod = MANIFESTS["Deployment/modelmora-gateway"]["spec"]["template"]
    assert service["selector"] == pod["metadata"]["labels"]
    named = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
    assert named == {"http": settings.http_port, "grpc": settings.grpc_port}
    assert {port["name"]: port["targetPort"] for port in service["ports"]} == {
        name: name for name in named
    }


def test_environment_is_understood(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    given = {"MODELMORA_THREADS": "4", "MODELMORA_KAFKA__SASL_PASSWORD": "secret"}
    (container,) = MANIFESTS["Deployment/modelmora-node"]["spec"]["template"]["spec"]["containers"]
    assert {variable["name"] for variable in container["env"]} == set(given)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    read = load_settings(tmp_path / "modelmora.yaml")
    assert (read.threads, read.kafka.password()) == (4, "secret")
    assert read.bootstrap_servers == settings.bootstrap_servers


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_no_service_adds_variables_of_our_name(name: str) -> None:
    assert DEPLOYMENTS[name]["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_keys_are_where_the_gateway_looks(settings: Settings) -> None:
    pod = MANIFESTS["Deployment/modelmora-gateway"]["spec"]["template"]["spec"]
    (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "keys")
    file = KeyFile.of(settings)
    assert {str(file.path.parent), str(file.pepper_path.parent)} == {mount["mountPath"]}
    check_binding(settings)
    with pytest.raises(ConfigurationError, match="need API keys"):
        keyring_of(settings)
