"""Writes what the chart takes from the code, and the plain manifests that it renders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from modelmora.kafka.aclforms import strimzi
from modelmora.kafka.acls import Component, grants
from modelmora.kafka.topics import TABLE
from modelmora.settings import Settings
from modelmora.settings.sources import is_secret
from modelmora.settings.template import json_schema

CHART = Path("k8s/chart")
VALUES_SCHEMA = CHART / "values.schema.json"
OBSERVABILITY = Path("k8s/observability")
PLAIN = Path("k8s/modelmora.yaml")
ROOT = Path(__file__).parents[1]
HEAD = """\
# What `helm template modelmora k8s/chart` writes, by `make manifests`: change the chart instead.
# Set the brokers in the ConfigMap; k8s/chart/values.yaml says what else.
"""


def topics() -> list[dict[str, Any]]:
    """Every topic, with its own number of partitions or that of the lanes (none)."""
    return [
        {"topic": topic.value, "partitions": spec.partitions, "config": spec.broker_config()}
        for topic, spec in TABLE.items()
    ]


def rights() -> list[dict[str, Any]]:
    """What nodes and gateways together may do on the cluster, in Strimzi's words."""
    settings = Settings()
    both = {
        each: None for of in (Component.NODE, Component.GATEWAY) for each in grants(of, settings)
    }
    (user,) = strimzi({"User:modelmora": list(both)}, "scram-sha-512")
    acls: list[dict[str, Any]] = user["spec"]["authorization"]["acls"]
    return acls


def secrets() -> list[str]:
    """Settings that stand in no ConfigMap, `section.name`."""
    return [
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, each in field.annotation.model_fields.items()
        if is_secret(each.annotation)
    ]


def values_schema() -> dict[str, Any]:
    """The schema of the chart's values; what it says of `settings` is made of the settings."""
    schema: dict[str, Any] = json.loads((ROOT / VALUES_SCHEMA).read_text())
    settings = json_schema()
    own = {name: each for name, each in schema["$defs"].items() if name[0].islower()}
    schema["$defs"] = own | settings["$defs"]
    schema["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": settings["properties"],
    }
    return schema


def observability() -> dict[Path, str]:
    """Dashboards (JSON) and alerts (YAML with `groups`): helm reads its own folder only."""
    kinds = {".json": "dashboards", ".yaml": "alerts"}
    return {
        CHART / "observability" / kinds[path.suffix] / path.name: path.read_text()
        for path in sorted((ROOT / OBSERVABILITY).rglob("*"))
        if path.suffix == ".json"
        or (path.suffix == ".yaml" and "\ngroups:" in f"\n{path.read_text()}")
    }


def facts() -> dict[Path, str]:
    """Files of the chart that are made: by the code's tables, or of what lies beside it."""
    head = "# Made by .ci/chart.py from the tables in the code.\n"
    made = {"topics": topics(), "rights": rights(), "secrets": secrets()}
    tables = {
        CHART / "files" / f"{name}.yaml": head + yaml.safe_dump(value, sort_keys=False)
        for name, value in made.items()
    }
    schema = json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"
    return tables | observability() | {VALUES_SCHEMA: schema}


def tool(name: str) -> Path | None:
    """The newest of what .ci/kubernetes has built under this name, if it has."""
    above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    found = sorted((above / "modelmora" / "tools").glob(f"{name}-[0-9]*"))
    return found[-1] if found else None


def render(helm: Path, *arguments: str) -> str:
    """What the chart makes of these arguments. Raises CalledProcessError."""
    command = [helm, "template", "modelmora", ROOT / CHART, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Write all of it; 1 where helm is missing."""
    made = facts()
    for old in (ROOT / CHART / "observability").rglob("*.*"):
        if old.relative_to(ROOT) not in made:
            old.unlink()
    for path, text in made.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
    helm = tool("helm")
    if helm is None:
        print("error: no helm here; run `make tools`", file=sys.stderr)
        return 1
    (ROOT / PLAIN).write_text(HEAD + render(helm))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
