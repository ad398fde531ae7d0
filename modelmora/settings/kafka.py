"""Settings of how to reach a Kafka cluster and its schema registry, and how topics are created."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from modelmora.errors import ConfigurationError
from modelmora.settings.kinds import FilePath, RegistryUrl, Span
from modelmora.settings.section import Section, secret_of


class KafkaSettings(Section):
    """How to reach a cluster; mapped alike for aiokafka and confluent-kafka."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`"
    )
    sasl_username: str | None = Field(None, description="who we are to the brokers")
    sasl_password: SecretStr | None = Field(None, description="its password")
    sasl_password_file: FilePath | None = Field(
        None, description="a file that holds the password; goes before `sasl_password`"
    )
    ssl_cafile: FilePath | None = Field(
        None, description="certificates to trust (PEM); none = those of the system"
    )
    ssl_certfile: FilePath | None = Field(
        None, description="client certificate for mutual TLS (PEM)"
    )
    ssl_keyfile: FilePath | None = Field(None, description="its key (PEM)")
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        "auto",
        description="`consumer` (KIP-848), `classic`, or `auto`: `consumer` where the brokers have "
        "it (4.0 and later)",
    )

    def password(self) -> str | None:
        """The SASL password, from its file where one is named. Raises ConfigurationError."""
        return secret_of("kafka.sasl_password_file", self.sasl_password_file, self.sasl_password)

    def credentials(self) -> tuple[str, str] | None:
        """Name and password; None where the protocol has none. Raises ConfigurationError."""
        if not self.security_protocol.startswith("SASL_"):
            return None
        password = self.password()
        if not (self.sasl_username and password):
            raise ConfigurationError(
                f"kafka.security_protocol {self.security_protocol} needs kafka.sasl_username, and "
                "a password: kafka.sasl_password_file or MODELMORA_KAFKA__SASL_PASSWORD"
            )
        return self.sasl_username, password


class SchemaRegistrySettings(Section):
    """A schema registry with Confluent's interface; without `url` nothing asks for one."""

    url: RegistryUrl | None = Field(
        None,
        description="a registry with Confluent's interface, `http://host:port`; several with "
        "commas between; none = single-object encoding only",
    )
    username: str | None = Field(None, description="for basic authentication")
    password: SecretStr | None = Field(None, description="its password")
    password_file: FilePath | None = Field(
        None, description="a file that holds the password; goes before `password`"
    )
    ssl_cafile: FilePath | None = Field(
        None, description="certificates to trust (PEM); none = those of the system"
    )
    register_schemas: bool = Field(
        True, description="register our schemas at start; false: they must be there"
    )
    write: bool = Field(
        True, description="write our own records in this format too; false: only read it"
    )
    wait_s: Span = Field(
        10,
        gt=0,
        description="how long a request under an unknown schema id waits for a registry that does "
        "not answer",
    )

    def secret(self) -> str | None:
        """The password, from its file where one is named."""
        return secret_of("schema_registry.password_file", self.password_file, self.password)


class TopicSettings(Section):
    """How topics are created."""

    create: bool = Field(True, description="create missing topics at start")
    partitions: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="partitions of each lane, of `results` and so on; none = 12 on the embedded "
        "broker, 48 on a cluster",
    )
    replication_factor: int | None = Field(
        None, ge=1, le=7, description="none = the broker's default"
    )
