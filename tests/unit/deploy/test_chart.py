"""k8s/chart: what it takes from the code, what it refuses, and the plain manifests it renders."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelmora.access.binding import check_binding
from modelmora.settings import load_settings
from tests.api_server import CHART, ROOT, everything_on
from tests.tools import built

VERSIONS = ("1.35", "1.36", "1.37")
OTHERS = {"keda.sh", "monitoring.coreos.com", "kafka.strimzi.io"}
"""Whose kinds are no part of Kubernetes."""


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chart", ROOT / ".ci" / "chart.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def helm() -> Path:
    return built("helm")


def render(helm: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [str(helm), "template", "modelmora", str(CHART), *arguments]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [each for each in yaml.safe_load_all(made) if each]


def test_facts_are_those_of_the_code(maker: ModuleType) -> None:
    made = maker.facts()
    there = {each for part in ("files", "observability") for each in (CHART / part).rglob("*.*")}
    there.add(ROOT / maker.VALUES_SCHEMA)
    assert there == {ROOT / path for path in made}, "run `make manifests`"
    for path, text in made.items():
        assert (ROOT / path).read_text() == text, "run `make manifests`"


def test_dashboards_and_alerts_are_taken_in(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helm: Path
) -> None:
    monkeypatch.setattr(maker, "ROOT", tmp_path)
    shutil.copytree(CHART, tmp_path / maker.CHART)
    beside = tmp_path / maker.OBSERVABILITY
    beside.mkdir()
    rule = {"alert": "Gone", "expr": "up == 0", "annotations": {"summary": "{{ $labels.pod }}"}}
    (beside / "alerts.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "a", "rules": [rule]}]})
    )
    (beside / "other.yaml").write_text("no: rules\n")
    (beside / "overview.json").write_text('{"title": "{{model}}"}\n')
    assert maker.main() == 0
    made = yaml.safe_load_all(maker.render(helm, *everything_on()))
    found = {each["kind"]: each for each in made if each}
    assert found["PrometheusRule"]["spec"]["groups"] == [{"name": "a", "rules": [rule]}]
    boards = [
        each["data"]
        for each in yaml.safe_load_all(maker.render(helm, *everything_on()))
        if each and each["metadata"]["name"].endswith("-dashboards")
    ]
    assert boards == [{"modelmora-overview.json": '{"title": "{{model}}"}'}]
    (beside / "overview.json").unlink()
    assert maker.main() == 0
    assert not list((tmp_path / maker.CHART / "observability").rglob("*.json"))


def test_version_is_the_package_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in project


def test_every_value_has_its_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def unknown(part: dict[str, Any], told: dict[str, Any], path: str) -> list[str]:
        known = part.get("properties", {})
        if not known or part.get("additionalProperties") is not False:
            return []
        lacking = [f"{path}{name}" for name in told if name not in known]
        return lacking + [
            each
            for name, value in told.items()
            if isinstance(value, dict) and name in known
            for each in unknown(known[name], value, f"{path}{name}.")
        ]

    assert unknown(schema, values, "") == []
    assert unknown(schema, {**values, "nods": 1}, "") == ["nods"]


def test_plain_manifests_are_what_it_renders(maker: ModuleType, helm: Path) -> None:
    assert (ROOT / maker.PLAIN).read_text() == maker.HEAD + maker.render(helm)


def test_lint(helm: Path) -> None:
    subprocess.run([str(helm), "lint", "--strict", str(CHART)], check=True, capture_output=True)


def test_suites_of_the_chart() -> None:
    run = subprocess.run(
        [str(built("helm-unittest")), str(CHART)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_all_options_are_valid(helm: Path, version: str) -> None:
    made = render(helm, *everything_on())
    ours = [each for each in made if each["apiVersion"].split("/")[0] not in OTHERS]
    assert len(ours) < len(made)
    for each in ours:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("options", [(), ("all",), ("--set", "tls.secret=cert")])
def test_settings_are_understood(
    helm: Path, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = render(helm, *(everything_on() if options == ("all",) else options))
    (found,) = (m["data"]["modelmora.yaml"] for m in made if "modelmora.yaml" in m.get("data", ()))
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "modelmora.yaml"
    config.write_text(found)
    monkeypatch.setenv("MODELMORA_KAFKA__SASL_PASSWORD", "secret")
    check_binding(load_settings(config))


def test_large_numbers_stay_whole(helm: Path) -> None:
    made = render(helm, "--set", "settings.limits.node_bytes=26843545600")
    assert any(
        "node_bytes: 26843545600\n" in str(m.get("data", {}).get("modelmora.yaml")) for m in made
    )
