"""Finding what to talk to: the running instance of a data folder, its broker, its doors."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modelmora import addresses
from modelmora.access.own import Own, own_of
from modelmora.errors import ConfigurationError, ModelMoraError, NotFound, Unreachable
from modelmora.host.runfile import RunInfo, read_run
from modelmora.kafka.topics import EMBEDDED_PARTITIONS
from modelmora.settings import CONFIG_VARIABLE, Settings, load_settings
from modelmora.text import duration

if TYPE_CHECKING:
    import httpx

CONNECT_S = 3.0
BROKER_UNREACHABLE = "broker_unreachable"
BEHIND = (502, 503, 504)
"""What a door, or a proxy before it, answers when something behind it is away."""


@dataclass(frozen=True, slots=True)
class Talk:
    """How a person is told what is spoken to, and what is waited for."""

    tell: Callable[[str], object]
    waiting: Callable[[str], AbstractContextManager[None]]


SILENT = Talk(lambda _line: None, lambda _what: contextlib.nullcontext())


@dataclass(frozen=True, slots=True)
class Instance:
    """What a verb speaks to: the instance of a data folder, or what was named instead."""

    settings: Settings
    run: RunInfo | None
    url: str | None = None
    talk: Talk = SILENT

    @property
    def elsewhere(self) -> bool:
        """Whether a cluster is named that is not that of the instance which runs here."""
        named, own = self.settings.bootstrap_servers, self.run and self.run.bootstrap_servers
        return bool(named) and not self.url and named != own

    def kafka(self) -> Settings:
        """The settings with the brokers to use: those named, else those of the instance.

        Raises Unreachable where none is known or none accepts a connection.
        """
        settings = of_run(self.settings, self.run)
        servers = settings.bootstrap_servers
        if not servers:
            raise Unreachable(
                f"no instance runs on {settings.data_dir}; start `modelmora serve`, or pass "
                "--data-dir or --bootstrap-servers"
            )
        with self.talk.waiting(f"waiting for the broker at {servers}"):
            answers = accepts(servers)
        if not answers:
            raise Unreachable(
                self._starting("broker")
                or f"no broker answers at {servers}; is it running, is the address right?"
            )
        self.talk.tell(f"{settings.namespace} at {servers}")
        return settings

    def ask_gateway(self, method: str, path: str, **options: Any) -> Any:
        """What the gateway answers. Raises what `call` does, and ConfigurationError (`url`)."""
        return self._ask("gateway", self.run.http if self.run else None, method, path, options)

    def ask_node(self, method: str, path: str, **options: Any) -> Any:
        """What the node answers at its health port; likewise."""
        return self._ask("node", self.run.node_http if self.run else None, method, path, options)

    def own(self) -> Own:
        """How TLS is spoken to the doors. Raises ConfigurationError."""
        return own_of(self.settings, here=self.url is None)

    def _ask(
        self, part: str, address: str | None, method: str, path: str, options: dict[str, Any]
    ) -> Any:
        base = self._door(part, address)
        if key := self.settings.access.key:
            ours = {"authorization": f"Bearer {key.get_secret_value()}"}
            options = {**options, "headers": {**options.get("headers", {}), **ours}}
        try:
            with self.talk.waiting(f"waiting for {base}{path}"):
                return call(method, base + path, own=self.own(), **options)
        except Unreachable:
            # It may have died just now.
            later = replace(self, run=read_run(self.settings.data_dir))
            if not self.url and (starting := later._starting(part)):
                raise Unreachable(starting) from None
            raise

    def _door(self, part: str, address: str | None) -> str:
        if self.url:
            return self.url
        if address is None:
            raise Unreachable(
                f"no {part} runs on {self.settings.data_dir}; start `modelmora serve`, or pass "
                "--data-dir or --url"
            )
        if starting := self._starting(part):
            raise Unreachable(starting)
        self.talk.tell(f"{part} at {address}")
        return address

    def _starting(self, part: str) -> str | None:
        """That the supervisor is starting a part again, and for how long."""
        since = self.run.starting.get(part) if self.run else None
        if since is None:
            return None
        return f"the {part} is starting again ({duration(1000 * (time.time() - since))})"


def find(
    *,
    config: Path | None = None,
    url: str | None = None,
    talk: Talk = SILENT,
    **flags: Any,
) -> Instance:
    """The instance that these options name, with the settings that it was started with.

    Its settings file is used where none is named here. Raises ConfigurationError.
    """
    settings = load_settings(config, **flags)
    run = read_run(settings.data_dir)
    named = config or os.environ.get(CONFIG_VARIABLE)
    if run and run.config and not named and Path(run.config).is_file():
        settings = load_settings(Path(run.config), **flags | {"data_dir": settings.data_dir})
    return Instance(settings, run, url_of(url) if url is not None else None, talk)


def of_run(settings: Settings, run: RunInfo | None) -> Settings:
    """The settings, where they name no cluster with that of the running instance."""
    if run is None or settings.bootstrap_servers:
        return settings
    found: dict[str, object] = {"bootstrap_servers": run.bootstrap_servers}
    if run.namespace and "namespace" not in settings.model_fields_set:
        found["namespace"] = run.namespace
    if run.processes.get("broker") and settings.topics.partitions is None:
        partitions = {"partitions": EMBEDDED_PARTITIONS}
        found["topics"] = settings.topics.model_copy(update=partitions)
    return settings.model_copy(update=found)


def url_of(given: str) -> str:
    """`host:port` with or without a scheme as a URL. Raises ConfigurationError."""
    try:
        if "://" not in given:
            addresses.split(given)
            return f"http://{given}"
        parts = urlsplit(given)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise ConfigurationError(f"--url {given} must be host:port or http://host:port") from None
    return given.rstrip("/")


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


def call(
    method: str, url: str, *, timeout_s: float = 10.0, own: Own | None = None, **options: Any
) -> Any:
    """The JSON that a door of ours answers; `own` is how TLS is spoken to it.

    Raises Unreachable (no connection, no answer in time), NotFound (404), and ModelMoraError with
    the problem's own words (RFC 9457) otherwise.
    """
    import httpx

    try:
        # Our doors are on this machine or named on purpose: a proxy of the environment is not.
        trusted = own.context() if own and url.startswith("https:") else True
        with httpx.Client(timeout=timeout_s, trust_env=False, verify=trusted) as client:
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
    """What a health page says is missing: its faults, or the checks that are false, and why."""
    checks, why = health.get("checks") or {}, health.get("why") or {}
    unwell = [
        f"{name} ({why[name]})" if name in why else name for name in checks if not checks[name]
    ]
    faults = health.get("faults") or unwell
    return f"not ready: {', '.join(map(str, faults))}" if faults else ""


def problem(response: httpx.Response) -> ModelMoraError:
    """What a door refused, as an error of ours."""
    try:
        body = response.json()
        told = body.get("detail") or body.get("title")
        code = body.get("code")
        health = "" if told else _not_ready(body)
    except (ValueError, AttributeError):
        told, code, health = None, None, ""
    told = told or response.reason_phrase
    line = health or (f"{code}: {told}" if code else f"{response.status_code} {told}")
    if response.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(line)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        line += " (commands send that of access.key, MODELMORA_ACCESS__KEY)"
    away = {BROKER_UNREACHABLE} if code else {None}
    if response.status_code in BEHIND and code in away:
        return Unreachable(line)
    wait = response.headers.get("Retry-After")
    if wait and "try again in" not in line:
        line += f" (try again in {wait} s)"
    return ModelMoraError(line)
