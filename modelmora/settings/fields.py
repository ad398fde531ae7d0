"""Every setting: its type, its default, and what it means in the words that people read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from modelmora.settings.access import AccessSettings
from modelmora.settings.audit import AuditSettings
from modelmora.settings.kafka import KafkaSettings, SchemaRegistrySettings, TopicSettings
from modelmora.settings.kinds import (
    YEAR_S,
    FilePath,
    Host,
    MemberId,
    Namespace,
    Port,
    Runtime,
    RuntimeName,
    Servers,
    Span,
    TopicPattern,
)
from modelmora.settings.models import ModelConfig, RegistrySettings
from modelmora.settings.objects import ObjectSettings
from modelmora.settings.oidc import OidcSettings
from modelmora.settings.purposes import Purposes
from modelmora.settings.section import Section
from modelmora.settings.shadow import ShadowSettings
from modelmora.settings.tls import TlsSettings
from modelmora.settings.tracing import TracingSettings

MIB = 1 << 20


class Limits(Section):
    """Bounds of every buffer; bytes are those of record values on the topic."""

    request_bytes: int = Field(
        1_000_000,
        ge=1,
        le=2 * MIB - 1024,
        description="largest value of a request record; above it: dead letter `too_large`",
    )
    retries: int = Field(
        2,
        ge=0,
        le=100,
        description="how often a request is put off and tried again after a failure that was not "
        "its own, first after 30 s, then after 5 min; 0 = never",
    )
    retry_share: float = Field(
        0.2, ge=0, le=1, description="tries again on one node, as a share of first tries"
    )
    partition_requests: int = Field(
        10_000,
        ge=1,
        description="requests that may wait per partition; when full, the partition is not read "
        "further",
    )
    partition_bytes: int = Field(
        64 * MIB,
        ge=1,
        description="bytes that may wait per partition; each request counts 2,600 bytes beside its "
        "own",
    )
    node_bytes: int = Field(
        256 * MIB,
        ge=1,
        description="bytes that may wait per node. Lane `low` is read up to 50 % of it, `normal` "
        "to 75 %, `high` to 90 %, `critical` to 100 %; when a lane is full, waiting requests of "
        "lower lanes leave memory and are read again later. A partition may always hold 1/256 of "
        "it",
    )
    group_requests: int = Field(
        256,
        ge=1,
        le=65_535,
        description="requests in one group, that is in one hand-over to a model's process",
    )
    group_bytes: int = Field(1 * MIB, ge=1, description="bytes in one group")
    group_wait_ms: Span = Field(
        0, ge=0, description="how long a group that is not full waits for more requests"
    )
    gateway_bytes: int = Field(
        32 * MIB,
        ge=1,
        description="bytes of requests that one gateway holds while they are read and written; "
        "above it: `busy`, above 75 % of it for those of more than 64 KiB",
    )
    gateway_waiting: int = Field(
        10_000, ge=1, description="callers that may wait at one gateway; above it: `busy`"
    )


class Timing(Section):
    """Seconds unless the name says ms."""

    request_timeout_ms: int = Field(
        600_000,
        ge=1,
        le=1000 * YEAR_S,
        description="life of a request without its own `timeout_ms`, from the first append",
    )
    ageing_s: Span = Field(
        120, gt=0, description="how long a queue may be passed over before one group of it runs"
    )
    broker_s: Span = Field(
        15,
        gt=0,
        description="how long a node that starts waits for a broker that does not answer",
    )
    load_s: Span = Field(600, gt=0, description="how long a model may take to load")
    keep_alive_s: float = Field(
        -1,
        ge=-1,
        le=YEAR_S,
        description="how long a model stays in memory with nothing to do, unless its `keep_alive` "
        "or that of its latest request says otherwise; 0 = not at all, -1 = until memory is needed",
    )
    start_to_close_s: Span = Field(
        300, gt=0, description="how long one group may run before its process is killed"
    )
    warm_up_s: Span = Field(
        20,
        ge=0,
        description="how long a node that starts may load what others have in use before it takes "
        "partitions, and a node that stops may wait until others have loaded what it has in use; "
        "0 = nothing is loaded so",
    )
    drain_s: Span = Field(
        20, ge=0, description="how long started work may finish when the node stops"
    )
    commit_interval_s: Span = Field(0.2, gt=0, description="how often offsets are committed")
    session_timeout_s: Span = Field(
        10,
        ge=1,
        description="after how long the group gives a silent node's partitions to others; outcomes "
        "are written only while a node knows that it is not silent",
    )
    watchdog_s: Span = Field(
        30,
        gt=0,
        description="how long reading may stand still with records waiting, or the loop of a node "
        "or gateway altogether, before the process ends itself",
    )
    metrics_s: float = Field(
        15,
        ge=0,
        le=YEAR_S,
        description="how often what is measured is told on the topic `metrics`; 0 = never",
    )
    probe_s: float = Field(
        10,
        ge=0,
        le=YEAR_S,
        description="how often a gateway asks by a tiny record on some partitions of each lane "
        "whether what is written there is answered; 0 = never",
    )
    stop_s: Span = Field(45, gt=0, description="how long a stop may take in all")


class LogSettings(Section):
    """What is logged, and where."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="`debug`, `info`, `warning` or `error`"
    )
    format: Literal["auto", "json", "console", "none"] = Field(
        "auto",
        description="on standard error: `json`, `console`, `none`, or `auto`: console on a "
        "terminal, else json",
    )
    file: FilePath | None = Field(
        None,
        description="a file that gets the log too, as JSON lines; none = `serve` takes "
        "`logs/modelmora.log` in the data folder",
    )
    file_bytes: int = Field(
        10 * MIB,
        ge=0,
        description="size at which `serve` begins a new file, of which it keeps three former ones; "
        "0 = no file",
    )


class MemorySettings(Section):
    """Memory for models."""

    budget_bytes: int | None = Field(
        None,
        ge=1,
        description="RAM for models; none = 80 % of what the machine or its cgroup has available "
        "at start",
    )
    gpus: tuple[str, ...] | None = Field(
        None,
        description="GPUs to use, by the driver's index or the beginning of the UUID; none = those "
        "of `CUDA_VISIBLE_DEVICES`, else all; `[]` = no GPU",
    )
    gpu_share: float = Field(
        0.9, gt=0, le=1, description="share of each GPU's memory, as free at start, for models"
    )
    gpu_bytes: int | None = Field(
        None, ge=1, description="memory of each GPU for models; goes before `gpu_share`"
    )


class SourceSettings(Section):
    """Where models may come from, beside the hub, packages and folders."""

    allowed_hosts: tuple[str, ...] = Field(
        (), description="hosts that models with an `https://` source may come from"
    )
    private_addresses: bool = Field(
        False, description="whether such a host may have an address in a private network"
    )
    s3_endpoint: str | None = Field(
        None, description="the object store of `s3://` sources; none = `AWS_ENDPOINT_URL`, or AWS"
    )


class Settings(Section):
    """All settings of one instance."""

    namespace: Namespace = Field(
        "modelmora",
        description="prefix of every topic (`<namespace>.results`) and of the consumer group "
        "(`<namespace>.nodes`)",
    )
    data_dir: FilePath = Field(
        Path(".modelmora"),
        description="data folder: installed models, the embedded broker's data, logs, `run.json`; "
        "one instance each",
    )
    cache_dir: FilePath | None = Field(
        None,
        description="where fetched models lie, which nodes may share; none = "
        "`$XDG_CACHE_HOME/modelmora/models`, and for models of the hub its own cache",
    )
    lock_file: FilePath = Field(
        Path("modelmora.lock"), description="where `modelmora lock` writes what exactly is served"
    )
    locked: bool = Field(
        False, description="serve exactly what the lock file says; see [Models](../howto/models.md)"
    )
    role: Literal["all", "node", "gateway"] = Field(
        "all", description="what `serve` runs: `all`, `node` or `gateway`"
    )
    bootstrap_servers: Servers | None = Field(
        None,
        description="the Kafka cluster, `host:port,host:port`; with none, `--role all` starts a "
        "broker of its own",
    )
    host: Host = Field(
        "127.0.0.1", description="address that REST, gRPC and the node's port listen on"
    )
    insecure_bind: bool = Field(
        False,
        description="let a gateway listen beyond this machine without TLS, or without asking who "
        "calls: where a proxy or the network itself sees to that",
    )
    http_port: Port = Field(8080, description="REST; 0 = any free port")
    grpc_port: Port = Field(9090, description="gRPC; 0 = any free port")
    node_http_port: Port = Field(
        8081, description="health and metrics of the node; 0 = any free port"
    )
    broker_port: Port | None = Field(
        None,
        description="the embedded broker; none = that of last time, else 9092 if it is free, else "
        "any; 0 = that of last time, else any",
    )
    dynamic_member: bool = Field(
        False, description="no lasting name in the consumer group, for nodes that come and go"
    )
    member_id: MemberId | None = Field(
        None,
        description="the node's lasting name in the consumer group; none = one made once and kept "
        "in the data folder",
    )
    nodes_on_demand: bool = Field(
        False,
        description="nodes are started when requests wait, and there may be none: a gateway then "
        "takes requests of models that it knows all the same, and is ready; see "
        "[Kubernetes](../howto/kubernetes.md#to-no-node-and-back)",
    )
    testing: bool = Field(
        False, description="serve the test models `echo`, `sleep`, `crash`, `hang`, `oom` too"
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="`exactly_once`: outcomes and offsets in one transaction, see "
        "[Exactly once](../howto/exactly-once.md)",
    )
    sandbox: Literal["required", "best-effort", "off"] = Field(
        "best-effort",
        description="models' processes without network, programs and others' files: as far as the "
        "kernel can, or `required`, or `off`",
    )
    runtimes: dict[RuntimeName, Runtime] = Field(
        {},
        description="other Python environments for models whose `runtime` names them: the path of "
        "each one's python, or a command as a list, see [Runtimes](../howto/runtimes.md)",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads that all models together may use; none = all cores"
    )
    reply_partitions: int = Field(
        1,
        ge=1,
        description="how many partitions of `results` and `progress` a gateway reads for its "
        "callers",
    )
    reply_topics: tuple[TopicPattern, ...] = Field(
        (),
        description="topics on which a request may ask to be answered too (`kafka_replyTopic`): "
        "names, with `*` for any characters; see [Produce requests](../howto/produce.md)",
    )
    kafka: KafkaSettings = KafkaSettings()
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    topics: TopicSettings = TopicSettings()
    limits: Limits = Limits()
    timing: Timing = Timing()
    memory: MemorySettings = MemorySettings()
    log: LogSettings = LogSettings()
    sources: SourceSettings = SourceSettings()
    objects: ObjectSettings = ObjectSettings()
    registry: RegistrySettings = RegistrySettings()
    access: AccessSettings = AccessSettings()
    audit: AuditSettings = AuditSettings()
    oidc: OidcSettings = OidcSettings()
    tls: TlsSettings = TlsSettings()
    purposes: Purposes = Purposes()
    shadow: ShadowSettings = ShadowSettings()
    tracing: TracingSettings = TracingSettings()
    models_folder: FilePath | None = Field(
        None,
        description="a folder of files of models, or one file, as `modelmora apply` reads them; "
        "served like those of `models`, and looked at again while the node runs",
    )
    models: tuple[ModelConfig, ...] = Field(
        (),
        description="models to serve: a list of `name`, `task`, `source` and optionally "
        "[more](models.md)",
    )

    @field_validator("models")
    @classmethod
    def _names_are_unique(cls, models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
        seen: set[tuple[str, str]] = set()
        for model in models:
            key = (model.name, model.version)
            if key in seen:
                raise ValueError(f"{model.name}@{model.version} is listed twice")
            seen.add(key)
        return models

    @property
    def cores(self) -> int:
        """CPU threads that all children together may use."""
        if self.threads:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    @property
    def objects_folder(self) -> Path | None:
        """The folder of objects; None where none is known to be shared by all who need it."""
        own = self.data_dir / "objects" if self.role == "all" else None
        return self.objects.folder or own

    @property
    def keeps_objects(self) -> bool:
        """Whether there is a store for what no record takes."""
        return self.objects.store == "s3" or self.objects_folder is not None

    @property
    def group(self) -> str:
        """The consumer group of the nodes."""
        return f"{self.namespace}.nodes"
