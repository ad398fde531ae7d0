"""docker-compose.kafka.yml: its structure, and that what it says agrees with the code."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from modelmora.access.binding import check_binding
from modelmora.access.files import keyring_of
from modelmora.cli.app import main
from modelmora.settings import load_settings

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads(Path(__file__).with_name("compose.schema.json").read_text())


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.kafka.yml").read_text())
    return loaded


def faults(compose: dict[str, Any]) -> list[str]:
    """What the file gets wrong: by the schema, and where it names what it does not define."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(compose)]
    if found:
        return found
    services = compose["services"]
    ports = [port.split(":")[1] for s in services.values() for port in s.get("ports", ())]
    found += [f"port {port} twice" for port in set(ports) if ports.count(port) > 1]
    for name, service in services.items():
        named = {volume.split(":")[0] for volume in service.get("volumes", ())}
        folders = {volume for volume in named if volume.startswith("./")}
        found += [f"{name}: no folder {each}" for each in folders if not (ROOT / each).is_dir()]
        missing = named - folders - set(compose["volumes"])
        found += [f"{name}: no volume {volume}" for volume in missing]
        configs = {config["source"] for config in service.get("configs", ())}
        found += [f"{name}: no config {each}" for each in configs - set(compose["configs"])]
        for other, how in service.get("depends_on", {}).items():
            if other not in services:
                found.append(f"{name}: no service {other}")
            elif how["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                found.append(f"{name}: {other} has no healthcheck")
    return found


def test_structure(compose: dict[str, Any]) -> None:
    assert faults(compose) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "broker", "image"), "apache/kafka:latest"),
        (("services", "broker", "image"), "apache/kafka"),
        (("services", "broker", "imge"), "apache/kafka:4.1.1"),
        (("services", "broker", "ports"), ["9092:9092"]),
        (("services", "ui", "ports"), ["127.0.0.1:8080:8080"]),
        (("services", "ui", "depends_on"), {"brokr": {"condition": "service_started"}}),
        (("services", "ui", "depends_on"), {"topics": {"condition": "service_healthy"}}),
        (("services", "s3", "volumes"), ["elsewhere:/data"]),
        (("services", "s3", "volumes"), ["./nowhere:/data:ro"]),
        (("services", "s3", "configs"), [{"source": "nowhere", "target": "/a"}]),
    ],
)
def test_faults_are_seen(compose: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    broken = json.loads(json.dumps(compose))
    inner = broken
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert faults(broken)


def test_services_by_profile(compose: dict[str, Any]) -> None:
    profiles = {name: s.get("profiles", []) for name, s in compose["services"].items()}
    assert profiles == {
        "broker": [],
        "topics": [],
        "modelmora": [],
        "registry": ["registry"],
        "ui": ["ui"],
        "s3": ["s3"],
        "prometheus": ["obs"],
        "grafana": ["obs"],
        "collector": ["obs"],
    }


def content(compose: dict[str, Any], name: str) -> Any:
    return yaml.safe_load(compose["configs"][name]["content"])


def test_what_is_observed(compose: dict[str, Any]) -> None:
    """Prometheus asks ports that are there; Grafana finds its sources and our dashboards."""
    services = compose["services"]
    scraped = content(compose, "prometheus")
    (job,) = scraped["scrape_configs"]
    ports = {port.rpartition(":")[2] for port in services["modelmora"]["ports"]}
    for target in job["static_configs"][0]["targets"]:
        host, _, port = target.partition(":")
        assert host == "modelmora"
        assert port in ports
    held = ROOT / "k8s" / "observability"
    rules, dashboards = (services[name]["volumes"][0] for name in ("prometheus", "grafana"))
    assert rules.startswith("./k8s/observability:/etc/prometheus/rules:")
    assert [Path(each).parent for each in scraped["rule_files"]] == [Path("/etc/prometheus/rules")]
    assert all((held / Path(each).name).is_file() for each in scraped["rule_files"])
    (provider,) = content(compose, "grafana-dashboards")["providers"]
    assert dashboards == f"./k8s/observability:{provider['options']['path']}:ro"
    assert len([*held.glob("*.json")]) >= 3
    sources = content(compose, "grafana-sources")["datasources"]
    for url in (httpx.URL(each["url"]) for each in sources):
        assert "obs" in services[url.host]["profiles"]
    assert [each["type"] for each in sources if each.get("isDefault")] == ["prometheus"]


def test_broker_is_the_embedded_ones_version(compose: dict[str, Any]) -> None:
    sums = (resources.files("modelmora.broker") / "jars.sha256").read_text()
    version = re.search(r"/kafka_2\.13/([^/]+)/", sums)
    assert version
    assert compose["services"]["broker"]["image"] == f"apache/kafka:{version[1]}"


def test_broker_listens_inside_and_outside(compose: dict[str, Any]) -> None:
    environment = compose["services"]["broker"]["environment"]
    listeners = dict(
        listener.split("://") for listener in environment["KAFKA_LISTENERS"].split(",")
    )
    advertised = dict(
        listener.split("://") for listener in environment["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    protocols = environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]
    assert {part.split(":")[0] for part in protocols.split(",")} == set(listeners)
    assert set(advertised) == set(listeners) - {environment["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    for name, address in advertised.items():
        assert address.rpartition(":")[2] == listeners[name].rpartition(":")[2]
    assert advertised["PLAINTEXT_HOST"] == "localhost:9092"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    replication = {v for k, v in environment.items() if k.endswith("_REPLICATION_FACTOR")}
    assert replication == {1}


def test_settings_are_understood(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    service = compose["services"]["modelmora"]
    for name, value in service["environment"].items():
        if value is None:  # handed on from whoever starts it
            assert load_settings().tracing.endpoint is None
            value = "http://collector:4318"
        monkeypatch.setenv(name, value)
    settings = load_settings()
    broker = compose["services"]["broker"]["environment"]
    assert f"PLAINTEXT://{settings.bootstrap_servers}" in broker["KAFKA_ADVERTISED_LISTENERS"]
    published = {port.rpartition(":")[2] for port in service["ports"]}
    assert published == {
        str(settings.http_port),
        str(settings.grpc_port),
        str(settings.node_http_port),
    }
    # Whoever reaches a published port is on this machine: the schema holds that.
    assert keyring_of(settings) is None
    check_binding(settings)
    assert compose["services"]["topics"]["command"] == ["topics", "create"]


@pytest.mark.parametrize("name", ["topics", "modelmora"])
def test_commands_are_understood(compose: dict[str, Any], name: str) -> None:
    assert main([*compose["services"][name]["command"], "--help"]) == 0
