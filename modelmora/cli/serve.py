"""`modelmora serve`: run broker, node and gateway of one machine, or one of them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from modelmora.cli.shared.options import ConfigOption, DataDirOption
from modelmora.settings import config_path, load_settings

PortHelp = "0 = any free one"


def serve(
    role: Annotated[
        Literal["all", "node", "gateway"] | None,
        typer.Option(metavar="ROLE", help="What to run here: all, node or gateway (all)."),
    ] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The Kafka cluster; with none, --role all starts a broker of its own.",
        ),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Where to listen (127.0.0.1).")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(metavar="PORT", help=f"REST (8080); {PortHelp}.")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(metavar="PORT", help=f"gRPC (9090); {PortHelp}.")
    ] = None,
    node_http_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help=f"Health and metrics of the node (8081); {PortHelp}."),
    ] = None,
    broker_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="The own broker (9092 if free).")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Prefix of topics and group (modelmora).")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="CPU threads of all models together (all)."),
    ] = None,
    dynamic_member: Annotated[
        bool,
        typer.Option(
            "--dynamic-member", help="No lasting name in the group, for nodes that come and go."
        ),
    ] = False,
    locked: Annotated[
        bool, typer.Option("--locked", help="Load exactly what the lock file names.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go on in the background once it is ready.")
    ] = False,
    testing: Annotated[
        bool, typer.Option("--testing", help="Serve echo, sleep, crash, hang and oom too.")
    ] = False,
) -> int:
    """Serve models until Ctrl-C; says the addresses when ready."""
    settings = load_settings(
        config,
        role=role,
        bootstrap_servers=bootstrap_servers,
        data_dir=data_dir,
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        node_http_port=node_http_port,
        broker_port=broker_port,
        namespace=namespace,
        threads=threads,
        dynamic_member=dynamic_member or None,
        locked=locked or None,
        testing=testing or None,
    )
    from modelmora.host.detached import serve_detached
    from modelmora.host.serve import run_serve

    start = serve_detached if detach else run_serve
    return start(settings, config_path(config))
