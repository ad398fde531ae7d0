"""Finding what to talk to: the running instance of a data folder, its broker, its doors."""

from __future__ import annotations

import contextlib
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from modelmora import addresses
from modelmora.errors import ConfigurationError, ModelMoraError, NotFound, Unreachable
from modelmora.host.runfile import RunInfo, read_run
from modelmora.kafka.topics import EMBEDDED_PARTITIONS
from modelmora.settings import Settings

if TYPE_CHECKING:
    import httpx

CONNECT_S = 3.0
BROKER_UNREACHABLE = "broker_unreachable"
BEHIND = (502, 503, 504)
"""What a door, or a proxy before it, answers when something behind it is away."""


def running(settings: Settings) -> RunInfo | None:
    """The instance that runs on this data folder."""
    return read_run(settings.data_dir)


def connected(settings: Settings) -> Settings:
    """The settings with the brokers to use: those named, else those of the running instance.

    Raises ConfigurationError for what is no address, Unreachable where none is known or none
    accepts a connection.
    """
    info = running(settings)
    if not settings.bootstrap_servers:
        if info is None:
            raise Unreachable(
                f"no instance runs on {settings.data_dir}; start `modelmora serve`, or pass "
                "--data-dir or --bootstrap-servers"
            )
        settings = settings.model_copy(update={"bootstrap_servers": info.bootstrap_servers})
        if info.processes.get("broker") and settings.topics.partitions is None:
            topics = settings.topics.model_copy(update={"partitions": EMBEDDED_PARTITIONS})
            settings = settings.model_copy(update={"topics": topics})
    check_servers(settings.bootstrap_servers or "")
    if not accepts(settings.bootstrap_servers or ""):
        raise Unreachable(
            f"no broker answers at {settings.bootstrap_servers}; is it running, is the address "
            "right?"
        )
    return settings


def check_servers(servers: str) -> None:
    """Raise ConfigurationError where a broker's address is none."""
    try:
        for server in servers.split(","):
            addresses.split(server)
    except ValueError as error:
        raise ConfigurationError(f"bootstrap servers: {error}") from None


def accepts(servers: str) -> bool:
    """Whether one of the brokers takes a TCP connection.

    The Kafka clients try again and again instead of saying so.
    """
    for server in servers.split(","):
        with (
            contextlib.suppress(OSError, ValueError),
            socket.create_connection(addresses.split(server), CONNECT_S),
        ):
            return True
    return False


def gateway_url(settings: Settings) -> str:
    """Where the gateway of the running instance listens; raises Unreachable."""
    info = running(settings)
    if info is None or info.http is None:
        raise Unreachable(
            f"no gateway runs on {settings.data_dir}; start `modelmora serve`, or pass --url"
        )
    return info.http


def node_url(settings: Settings) -> str:
    """Where the node of the running instance answers for its health; raises Unreachable."""
    info = running(settings)
    if info is None or info.node_http is None:
        raise Unreachable(
            f"no node runs on {settings.data_dir}; start `modelmora serve`, or pass --data-dir"
        )
    return info.node_http


def call(method: str, url: str, *, timeout_s: float = 10.0, **options: Any) -> Any:
    """The JSON that a door of ours answers.

    Raises Unreachable (no connection, no answer in time), NotFound (404), and ModelMoraError with
    the problem's own words (RFC 9457) otherwise.
    """
    import httpx

    try:
        # Our doors are on this machine or named on purpose: a proxy of the environment is not.
        with httpx.Client(timeout=timeout_s, trust_env=False) as client:
            response = client.request(method, url, **options)
    except httpx.TimeoutException:
        raise Unreachable(f"{url} gave no answer in {timeout_s:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(
            f"{url} cannot be reached ({error}); is `modelmora serve` running?"
        ) from None
    if response.is_success:
        return response.json()
    raise problem(response)


def _not_ready(health: dict[str, Any]) -> str:
    """What a health page says is missing: its faults, or the checks that are false."""
    checks = health.get("checks") or {}
    faults = health.get("faults") or [name for name, passed in checks.items() if not passed]
    return f"not ready: {', '.join(map(str, faults))}" if faults else ""


def problem(response: httpx.Response) -> ModelMoraError:
    """What a door refused, as an error of ours."""
    try:
        body = response.json()
        told = body.get("detail") or body.get("title") or _not_ready(body)
        code = body.get("code")
    except (ValueError, AttributeError):
        told, code = None, None
    told = told or response.reason_phrase
    line = f"{code}: {told}" if code else f"{response.status_code} {told}"
    if response.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(line)
    away = {BROKER_UNREACHABLE} if code else {None}
    if response.status_code in BEHIND and code in away:
        return Unreachable(line)
    if wait := response.headers.get("Retry-After"):
        line += f" (try again in {wait} s)"
    return ModelMoraError(line)
