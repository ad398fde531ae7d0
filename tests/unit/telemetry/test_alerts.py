"""The alerts: each leads to its section of the runbook, and fires when it should and no sooner."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmora.gateway.wellness import Seen as GatewaySeen
from modelmora.gateway.wellness import signs_of as signs_of_gateway
from modelmora.node.wellness import Seen as NodeSeen
from modelmora.node.wellness import signs_of as signs_of_node
from tests.faults.matrix import ROWS
from tests.tools import built

ROOT = Path(__file__).parents[3]
RULES = ROOT / "k8s/observability/alerts.yaml"
CASES = Path(__file__).with_name("alerts.yaml")
BOOK = "https://github.com/modelmora/modelmora/blob/main/docs/howto/runbook.md"


def alerts() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (each for each in group["rules"] if "alert" in each)


ALERTS = {each["alert"]: each for each in alerts()}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(built("promtool")), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("name", ALERTS)
def test_each_leads_to_its_section_of_the_runbook(name: str) -> None:
    told = ALERTS[name]["annotations"]
    assert told["runbook_url"] == f"{BOOK}#{name.lower()}"
    book = (ROOT / "docs/howto/runbook.md").read_text()
    assert re.search(rf"^## {name}$", book, re.MULTILINE)
    assert ALERTS[name]["labels"]["severity"] in ("critical", "warning")


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    book = (ROOT / "docs/howto/runbook.md").read_text()
    assert {*re.findall(r"^## (ModelMora\w+)$", book, re.MULTILINE)} == {*ALERTS}


def test_what_it_says_was_tried_is_there() -> None:
    book = (ROOT / "docs/howto/runbook.md").read_text()
    sections = re.split(r"^## ", book, flags=re.MULTILINE)[1:]
    for section in sections:
        lines = re.findall(r"^(?:Tried|Not tried)\b.*", section, re.MULTILINE)
        assert lines, section.splitlines()[0]
        assert {*re.findall(r"\bF\d+", " ".join(lines))} <= ROWS.keys()
    for path in re.findall(r"`(tests/[\w/.]+)`", book):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("name", ALERTS)
def test_each_is_tried_as_it_fires_and_close_by(name: str) -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    tried = [
        bool(one["exp_alerts"])
        for case in cases
        for one in case["alert_rule_test"]
        if one["alertname"] == name
    ]
    assert {*tried} == {True, False}


def test_what_is_only_degraded_wakes_nobody() -> None:
    """By the code: a new check that requests do not need is to be added to both alerts."""
    signs = [*signs_of_node(NodeSeen(), 1, 1), *signs_of_gateway(GatewaySeen(), 1)]
    degraded = {each.check for each in signs if not each.needed}
    asked = re.search(r'check=~"([^"]+)"', ALERTS["ModelMoraDegraded"]["expr"])
    left_out = re.search(r'check!~"([^"]+)"', ALERTS["ModelMoraNotWell"]["expr"])
    assert asked
    assert left_out
    assert {*asked[1].split("|")} == degraded
    assert {*left_out[1].split("|")} == degraded | {"running"}


def test_prometheus_takes_the_rules() -> None:
    found = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert found.returncode == 0, found.stdout + found.stderr


def test_each_fires_when_it_should_and_no_sooner() -> None:
    found = promtool("test", "rules", str(CASES))
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("14.4 * 0.001", "6 * 0.001"),
        ("[5m])) or vector(0))", "[5m])))"),
        ("and absent(modelmora_open_requests)", "and sum(modelmora_open_requests) == 0"),
        ("(max by (topic) (modelmora_unowned_lag", "(sum by (topic) (modelmora_unowned_lag"),
        ('check!~"running|', 'check!~"'),
    ],
)
def test_a_rule_that_is_wrong_is_found(tmp_path: Path, true: str, false: str) -> None:
    rules, cases = tmp_path / "rules.yaml", tmp_path / "cases.yaml"
    text, asked = RULES.read_text(), yaml.safe_load(CASES.read_text())
    assert true in text
    rules.write_text(text.replace(true, false))
    cases.write_text(yaml.safe_dump(asked | {"rule_files": [str(rules)]}))
    assert promtool("test", "rules", str(cases)).returncode == 1
