"""k8s/modelmora.yaml: valid for Kubernetes, locked down, and in agreement with the settings."""

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

PLAIN = Path(__file__).parents[3] / "k8s" / "modelmora.yaml"
VERSIONS = ("1.35", "1.36", "1.37")


def read_manifests() -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(PLAIN.read_text()) if each]


def name_of(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


MANIFESTS = {name_of(manifest): manifest for manifest in read_manifests()}
WORKLOADS = {n: m for n, m in MANIFESTS.items() if m["kind"] in ("Deployment", "StatefulSet")}
KINDS = ("startup", "liveness", "readiness")
NODE = "StatefulSet/modelmora-node"


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
        "PodDisruptionBudget/modelmora-gateway",
        "PodDisruptionBudget/modelmora-node",
        "Service/modelmora",
        "Service/modelmora-node",
        "ServiceAccount/modelmora",
        "StatefulSet/modelmora-node",
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_schema(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_schema_sees_a_typing_error() -> None:
    broken = copy.deepcopy(MANIFESTS[NODE])
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_locked_down(name: str) -> None:
    pod = WORKLOADS[name]["spec"]["template"]["spec"]
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


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_selectors_meet_labels(name: str) -> None:
    labels = WORKLOADS[name]["spec"]["template"]["metadata"]["labels"]
    assert WORKLOADS[name]["spec"]["selector"]["matchLabels"] == labels
    assert labels.items() <= WORKLOADS[name]["metadata"]["labels"].items()
    claims = WORKLOADS[name]["spec"].get("volumeClaimTemplates", ())
    assert all(each["metadata"]["labels"] == labels for each in claims)


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_mounts_meet_volumes(name: str, settings: Settings) -> None:
    pod = WORKLOADS[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    claims = WORKLOADS[name]["spec"].get("volumeClaimTemplates", ())
    named = [volume["name"] for volume in pod["volumes"]]
    assert sorted(mounts) == sorted(named + [claim["metadata"]["name"] for claim in claims])
    # The root is read-only: the data folder and /tmp are the only places to write.
    assert mounts["data"] == str(settings.data_dir)
    assert mounts["tmp"] == "/tmp"
    assert mounts.get("cache", str(settings.cache_dir)) == str(settings.cache_dir)
    config = container["args"][container["args"].index("--config") + 1]
    assert config == f"{mounts['config']}/modelmora.yaml"


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_probes(name: str, settings: Settings) -> None:
    (container,) = WORKLOADS[name]["spec"]["template"]["spec"]["containers"]
    role = container["args"][container["args"].index("--role") + 1]
    port = {"node": settings.node_http_port, "gateway": settings.http_port}[role]
    assert {"name": "http", "containerPort": port} in container["ports"]
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in KINDS}
    assert {get["port"] for get in asked.values()} == {"http"}
    assert {get["scheme"] for get in asked.values()} == {"HTTP"}
    assert [get["path"] for get in asked.values()] == [
        "/health/started",
        "/health/live",
        "/health/ready",
    ]


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_arguments_are_understood(name: str) -> None:
    (container,) = WORKLOADS[name]["spec"]["template"]["spec"]["containers"]
    assert main([*container["args"], "--help"]) == 0


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_time_to_drain(name: str, settings: Settings) -> None:
    pod = WORKLOADS[name]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.timing.stop_s


def test_time_to_be_forgotten(settings: Settings) -> None:
    """A gateway that stops goes on for a while, and that counts against its time, too."""
    pod = MANIFESTS["Deployment/modelmora-gateway"]["spec"]["template"]["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + settings.timing.stop_s


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
    given = {"MODELMORA_THREADS": "4", "MODELMORA_MEMBER_ID": "ml.modelmora-node-0"}
    (container,) = MANIFESTS[NODE]["spec"]["template"]["spec"]["containers"]
    assert {each["name"] for each in container["env"]} == {*given, "POD_NAME", "POD_NAMESPACE"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    read = load_settings(tmp_path / "modelmora.yaml")
    assert (read.threads, read.member_id) == (4, "ml.modelmora-node-0")
    assert read.bootstrap_servers == settings.bootstrap_servers


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_no_service_adds_variables_of_our_name(name: str) -> None:
    assert WORKLOADS[name]["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_keys_are_where_the_gateway_looks(settings: Settings) -> None:
    pod = MANIFESTS["Deployment/modelmora-gateway"]["spec"]["template"]["spec"]
    (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "keys")
    file = KeyFile.of(settings)
    assert {str(file.path.parent), str(file.pepper_path.parent)} == {mount["mountPath"]}
    check_binding(settings)
    with pytest.raises(ConfigurationError, match="need API keys"):
        keyring_of(settings)
