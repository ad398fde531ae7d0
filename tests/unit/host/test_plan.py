"""What runs for a role, and on which ports."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from modelmora.broker.ports import any_ports
from modelmora.errors import ConfigurationError
from modelmora.host.plan import make_plan
from modelmora.settings import YEAR_S, AccessSettings, Settings, Timing, TlsSettings

PORTS = ("http_port", "grpc_port", "node_http_port")


def settings(**given: Any) -> Settings:
    return Settings(**{**dict.fromkeys(PORTS, 0), **given})


def test_alone_it_brings_its_own_broker() -> None:
    plan = make_plan(settings(), "me")
    assert plan.own_broker
    assert plan.programs == ("node", "gateway")
    assert plan.settings.topics.partitions == 12
    assert plan.settings.member_id == "me"
    chosen = [getattr(plan.settings, name) for name in PORTS]
    assert 0 not in chosen
    assert len(set(chosen)) == 3
    assert plan.settings.bootstrap_servers == f"127.0.0.1:{plan.settings.broker_port}"
    assert plan.settings.timing.broker_s == YEAR_S, "it is waited for as long as we run"


def test_with_a_cluster_it_brings_none() -> None:
    plan = make_plan(settings(bootstrap_servers="k:9092"), "me")
    assert not plan.own_broker
    assert plan.programs == ("node", "gateway")
    assert plan.settings.topics.partitions is None
    assert plan.settings.timing.broker_s == Timing().broker_s


@pytest.mark.parametrize("role", ["node", "gateway"])
def test_one_role_needs_a_cluster(role: str) -> None:
    with pytest.raises(ConfigurationError, match="--bootstrap-servers"):
        make_plan(settings(role=role), "me")
    assert make_plan(settings(role=role, bootstrap_servers="k:1"), "me").programs == (role,)


def test_members_that_come_and_go_have_no_name() -> None:
    assert make_plan(settings(dynamic_member=True), "me").settings.member_id is None
    assert make_plan(settings(member_id="mine"), "me").settings.member_id == "mine"


def test_ports_of_other_roles_are_not_looked_at() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        given = {"role": "gateway", "bootstrap_servers": "k:1"}
        plan = make_plan(settings(node_http_port=taken, **given), "me")
        assert plan.settings.node_http_port == taken
        with pytest.raises(ConfigurationError, match=f"port {taken} .* gRPC is taken"):
            make_plan(settings(grpc_port=taken, **given), "me")


def test_each_door_needs_a_port_of_its_own() -> None:
    (port,) = any_ports("127.0.0.1", 1)
    with pytest.raises(ConfigurationError, match="needs its own"):
        make_plan(settings(http_port=port, grpc_port=port), "me")


def test_a_gateway_that_needs_keys_and_has_none_is_not_begun(tmp_path: Path) -> None:
    there = {"host": "0.0.0.0", "bootstrap_servers": "k:9092", "data_dir": tmp_path}
    there["insecure_bind"] = True
    for role in ("all", "gateway"):
        with pytest.raises(ConfigurationError, match="modelmora keys create"):
            make_plan(settings(role=role, **there), "me")
    assert make_plan(settings(role="node", **there), "me").programs == ("node",)
    open_to_all = AccessSettings(callers="anyone")
    assert make_plan(settings(access=open_to_all, **there), "me").programs == ("node", "gateway")


def test_a_gateway_that_others_can_listen_to_is_not_begun(tmp_path: Path) -> None:
    there = {"host": "0.0.0.0", "bootstrap_servers": "k:9092", "data_dir": tmp_path}
    for role in ("all", "gateway"):
        with pytest.raises(ConfigurationError, match="--insecure-bind"):
            make_plan(settings(role=role, **there), "me")
    assert make_plan(settings(role="node", **there), "me").programs == ("node",)


@pytest.mark.parametrize("role", ["all", "node", "gateway"])
def test_certificates_that_cannot_be_used_are_told_before_anything_starts(
    role: str, tmp_path: Path
) -> None:
    gone = {"certfile": tmp_path / "gone.pem", "keyfile": tmp_path / "gone.key"}
    given = settings(role=role, bootstrap_servers="k:9092", tls=TlsSettings(**gone))
    with pytest.raises(ConfigurationError, match=r"gone\.pem cannot be read"):
        make_plan(given, "me")
