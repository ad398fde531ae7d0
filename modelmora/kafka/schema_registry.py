"""The schema registry: which id stands for which of our schemas, asked off the hot path."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from typing import Any

import structlog

from modelmora.errors import (
    Code,
    ConfigurationError,
    MissingExtra,
    Undecodable,
    Unreachable,
    WrongCredentials,
)
from modelmora.heard import LastWord
from modelmora.kafka.topics import TABLE
from modelmora.settings import SchemaRegistrySettings, Settings
from modelmora.wire import Framing, id_of, is_framed
from modelmora.wire.framing import PREFIX
from modelmora.wire.schemas import NAMES, header_of, pinned_header, read_schema

log = structlog.get_logger(__name__)
ANSWER_S = 2.0
RETRY_S = 0.5
ABSENT_S = 5.0  # an id that the registry did not have may be there soon after
REMEMBERED = 1000  # ids that are not ours
AT_ONCE = 4


class Schemas:
    """What one process knows of a registry, and how it learns more.

    An id never changes its schema, so what was learnt holds for ever, also while the registry is
    down. Subjects are `<topic>-value` (Confluent's TopicNameStrategy).
    """

    def __init__(self, settings: Settings, client: Any = None) -> None:
        self.framing = Framing()
        self._settings = settings.schema_registry
        self._namespace = settings.namespace
        self._client = client or _client(self._settings)
        self._refused: dict[bytes, tuple[float, str]] = {}
        self._learning = threading.Lock()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._silent_until = -math.inf
        self.last = LastWord()
        """Whether the registry answered when it was asked for an id."""

    @classmethod
    def of(cls, settings: Settings) -> Schemas | None:
        """Those of the settings; None where they name no registry. Raises MissingExtra."""
        return cls(settings) if settings.schema_registry.url else None

    def register(self) -> None:
        """Learn the ids of our topics, and write them under these where `write` says so; blocking.

        Where `register_schemas` says so, what the registry lacks is registered. Raises
        Unreachable, WrongCredentials, and ConfigurationError where it refuses or lacks a schema.
        """
        names = {read_schema(name)["name"]: name for name in NAMES}
        for topic, spec in TABLE.items():
            if spec.value in names:
                full, schema = topic.full(self._namespace), read_schema(names[spec.value])
                schema_id, header = self._id_of(f"{full}-value", schema), header_of(schema)
                self.framing.learn(schema_id, header)
                if self._settings.write:
                    self.framing.write(full, schema_id, header)

    def close(self) -> None:
        """Ask no more."""
        self._client.close()

    def plain(self, value: bytes) -> bytes | None:
        """The value in single-object encoding; None where its id has to be asked for first.

        Raises Undecodable for an id that is none of ours.
        """
        found = self.framing.plain(value)
        if found is None and (refused := self._refused.get(value[:PREFIX])):
            until, why = refused
            if time.monotonic() < until:
                raise Undecodable(Code.UNKNOWN_SCHEMA, why)
        return found

    def ask(self, value: bytes) -> None:
        """Ask for the id of this value once; then `plain` knows. Blocking; raises Unreachable."""
        schema_id = id_of(value)
        text = self._text_of(schema_id)
        header = pinned_header(text)
        with self._learning:
            if header:
                self.framing.learn(schema_id, header)
                return
            if text is None:
                until, why = time.monotonic() + ABSENT_S, "is not in the schema registry"
            else:
                until, why = math.inf, "is no released schema; use those of schemas/"
            if len(self._refused) >= REMEMBERED:
                self._refused.pop(next(iter(self._refused)))
            self._refused[value[:PREFIX]] = (until, f"schema id {schema_id} {why}")

    async def learn(self, value: bytes) -> Undecodable | None:
        """Ask until there is an answer, for `wait_s` at most; returns why there is none."""
        try:
            async with asyncio.timeout(self._settings.wait_s):
                while True:
                    try:
                        async with self._slots:
                            await asyncio.to_thread(self.ask, value)
                        return None
                    except Unreachable as error:
                        log.debug("schema id not resolved yet", id=id_of(value), why=str(error))
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            log.warning("schema id not resolved", id=id_of(value), url=self._settings.url)
            message = (
                f"the schema registry did not tell schema id {id_of(value)} within "
                f"{self._settings.wait_s:g} s; send the request again when it answers"
            )
            return Undecodable(Code.UNKNOWN_SCHEMA, message)

    async def readable(self, value: bytes | None) -> bytes | None:
        """As `plain`, for readers that must go on: asked once, else the value as it is."""
        if value is None or not is_framed(value):
            return value
        try:
            found = self.plain(value)
            if found is None and time.monotonic() >= self._silent_until:
                await asyncio.to_thread(self.ask, value)
                found = self.plain(value)
        except Undecodable:
            return value
        except Unreachable as error:
            self._silent_until = time.monotonic() + ABSENT_S
            log.warning("a record's schema id cannot be resolved", id=id_of(value), why=str(error))
            return value
        return value if found is None else found

    def _text_of(self, schema_id: int) -> str | None:
        """The registry's schema, "" where it has none as text, None where the id is unknown."""
        try:
            found = self._client.get_schema(schema_id).schema_str or ""
        except Exception as error:  # noqa: BLE001 - whatever its HTTP library raises comes through
            if not _is_absent(error):
                fault = self._fault(error)
                self.last.silent(str(fault))
                raise fault from None
            found = None
        self.last.answered()
        return found

    def _id_of(self, subject: str, schema: dict[str, Any]) -> int:
        from confluent_kafka.schema_registry import Schema

        asked = Schema(json.dumps(schema), "AVRO")
        try:
            if self._settings.register_schemas:
                return int(self._client.register_schema(subject, asked))
            return int(self._client.lookup_schema(subject, asked).schema_id)
        except Exception as error:  # noqa: BLE001 - as above
            if _is_absent(error) or _status(error) in (409, 422):
                what = "refuses" if self._settings.register_schemas else "lacks"
                raise ConfigurationError(
                    f"the schema registry {what} our {schema['name']} for subject {subject}: "
                    f"{error}; see schema_registry.register_schemas"
                ) from None
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> Exception:
        where = f"the schema registry at {self._settings.url}"
        if _status(error) in (401, 403):
            return WrongCredentials(
                f"{where} refuses these credentials; check schema_registry.username and password"
            )
        return Unreachable(f"{where} does not answer ({type(error).__name__}); is it running?")


def _client(settings: SchemaRegistrySettings) -> Any:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError:
        raise MissingExtra("registry", "the schema registry") from None
    config: dict[str, Any] = {"url": settings.url, "timeout": ANSWER_S, "max.retries": 0}
    if settings.username is not None:
        config["basic.auth.user.info"] = f"{settings.username}:{settings.secret() or ''}"
    if settings.ssl_cafile:
        config["ssl.ca.location"] = str(settings.ssl_cafile)
    try:
        return SchemaRegistryClient.new_client(config)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"schema_registry cannot be used: {error}") from None


def _status(error: Exception) -> int | None:
    """The HTTP status of the registry's own answer."""
    status: int | None = getattr(error, "http_status_code", None)
    return status


def _is_absent(error: Exception) -> bool:
    """Whether the registry itself says so, and not a proxy or another server at its address."""
    return _status(error) == 404 and (getattr(error, "error_code", None) or 0) // 100 == 404
