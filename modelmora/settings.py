"""Settings: `modelmora.yaml`, above it `MODELMORA_*` variables, above them the command's flags."""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from modelmora.errors import ConfigurationError

DEFAULT_CONFIG = "modelmora.yaml"
CONFIG_VARIABLE = "MODELMORA_CONFIG"
MIB = 1 << 20

_config_file: ContextVar[Path | None] = ContextVar("config_file", default=None)

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$")]
ModelVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A part of the settings; unknown keys are refused, so that a typing error is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Section):
    """One model to serve: `source` is `package:<distribution>` or a path.

    With `default: false` a version answers only where it is named.
    """

    name: ModelName
    task: str
    source: str
    version: ModelVersion = "1"
    engine: str | None = None
    default: bool = True


class KafkaSettings(Section):
    """How to reach a cluster; mapped alike for aiokafka and confluent-kafka.

    `group_protocol` auto is KIP-848 (`consumer`) where the brokers have it, else `classic`.
    """

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    group_protocol: Literal["auto", "consumer", "classic"] = "auto"

    def password(self) -> str | None:
        """The SASL password, from its file where one is named."""
        return _secret("kafka.sasl_password_file", self.sasl_password_file, self.sasl_password)


class SchemaRegistrySettings(Section):
    """A schema registry with Confluent's interface; without `url` nothing asks for one."""

    url: Annotated[str, StringConstraints(pattern=r"^(https?|mock)://[^@\s]+$")] | None = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ssl_cafile: Path | None = None
    register_schemas: bool = True
    write: bool = True
    wait_s: float = Field(10, gt=0)

    def secret(self) -> str | None:
        """The password, from its file where one is named."""
        return _secret("schema_registry.password_file", self.password_file, self.password)


def _secret(setting: str, file: Path | None, given: SecretStr | None) -> str | None:
    if file:
        try:
            return file.read_text().strip()
        except OSError as error:
            raise ConfigurationError(f"{setting} {file} cannot be read: {error.strerror}") from None
    return given.get_secret_value() if given else None


class TopicSettings(Section):
    """How topics are created; `partitions` is 12 on the embedded broker and 48 on a cluster."""

    create: bool = True
    partitions: Annotated[int, Field(ge=1, le=10_000)] | None = None
    replication_factor: Annotated[int, Field(ge=1, le=7)] | None = None


class Limits(Section):
    """Bounds of every buffer (invariant I5).

    Bytes are those of record values on the topic; a request that waits costs 1,700 more.
    """

    request_bytes: int = Field(1_000_000, ge=1, le=2 * MIB - 1024)
    partition_requests: int = Field(10_000, ge=1)
    partition_bytes: int = Field(64 * MIB, ge=1)
    node_bytes: int = Field(256 * MIB, ge=1)
    group_requests: int = Field(256, ge=1, le=65_535)
    group_bytes: int = Field(1 * MIB, ge=1)
    group_wait_ms: float = Field(0, ge=0)
    gateway_waiting: int = Field(10_000, ge=1)


class Timing(Section):
    """Times in seconds unless the name says ms."""

    broker_s: float = Field(15, gt=0)
    request_timeout_ms: int = Field(600_000, ge=1)
    ageing_s: float = Field(120, gt=0)
    load_s: float = Field(600, gt=0)
    start_to_close_s: float = Field(300, gt=0)
    drain_s: float = Field(20, ge=0)
    commit_interval_s: float = Field(0.2, gt=0)
    session_timeout_s: float = Field(10, ge=1)
    watchdog_s: float = Field(30, gt=0)
    stop_s: float = Field(45, gt=0)


class LogSettings(Section):
    """`auto` is console on a terminal, JSON otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class MemorySettings(Section):
    """Memory for models; None = 80 % of what the machine (or cgroup) has available at start."""

    budget_bytes: int | None = Field(None, ge=1)


class Settings(BaseSettings):
    """All settings of one instance."""

    model_config = SettingsConfigDict(
        env_prefix="MODELMORA_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = (
        "modelmora"
    )
    data_dir: Path = Path(".modelmora")
    role: Literal["all", "node", "gateway"] = "all"
    bootstrap_servers: str | None = None
    host: str = "127.0.0.1"
    http_port: Port = 8080
    grpc_port: Port = 9090
    node_http_port: Port = 8081
    broker_port: Port = 0
    dynamic_member: bool = False
    member_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,200}$")] | None = None
    testing: bool = False
    delivery: Literal["at_least_once", "exactly_once"] = "at_least_once"
    threads: Annotated[int, Field(ge=1)] | None = None
    reply_partitions: Annotated[int, Field(ge=1)] = 1
    kafka: KafkaSettings = KafkaSettings()
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    topics: TopicSettings = TopicSettings()
    limits: Limits = Limits()
    timing: Timing = Timing()
    memory: MemorySettings = MemorySettings()
    log: LogSettings = LogSettings()
    models: tuple[ModelConfig, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for model in self.models:
            key = (model.name, model.version)
            if key in seen:
                raise ValueError(f"models: {model.name}@{model.version} is listed twice")
            seen.add(key)
        return self

    @property
    def cores(self) -> int:
        """CPU threads that all children together may use."""
        if self.threads:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    @property
    def group(self) -> str:
        """The consumer group of the nodes."""
        return f"{self.namespace}.nodes"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over environment over file; no `.env` and no secrets folder."""
        del dotenv_settings, file_secret_settings
        file = YamlConfigSettingsSource(settings_cls, yaml_file=_config_file.get())
        return (init_settings, env_settings, file)


def config_path(config: Path | None) -> Path | None:
    """The YAML file in use: the flag, else MODELMORA_CONFIG, else ./modelmora.yaml if it exists."""
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if CONFIG_VARIABLE in os.environ else None)
    if named is None:
        default = Path(DEFAULT_CONFIG)
        return default if default.is_file() else None
    if not named.is_file():
        raise ConfigurationError(f"{named} does not exist; create it or leave --config out")
    return named


def load_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Read the settings of this process; flags that are None were not given.

    Raises ConfigurationError, one line that names the file or variable and the fault.
    """
    path = config_path(config)
    given = {name: value for name, value in flags.items() if value is not None}

    where = str(path) if path else "settings"
    try:
        token = _config_file.set(path)
        try:
            return Settings(**given)
        finally:
            _config_file.reset(token)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ConfigurationError(
            f"{field}: {first['msg']} ({where}, MODELMORA_* or a flag)"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigurationError(
            f"{where}{line} is not valid YAML: {getattr(error, 'problem', error)}"
        ) from None
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{where} is not a mapping of settings: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"{where} cannot be read: {error.strerror}") from None
