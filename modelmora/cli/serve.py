"""`modelmora serve`: run broker, node and gateway of one machine, or one of them."""

from __future__ import annotations

from modelmora.cli.shared import options as given
from modelmora.settings import config_path, load_settings


def serve(
    role: given.RoleOption = None,
    bootstrap_servers: given.OwnServersOption = None,
    data_dir: given.DataDirOption = None,
    config: given.ConfigOption = None,
    host: given.HostOption = None,
    insecure_bind: given.InsecureOption = False,
    http_port: given.HttpPortOption = None,
    grpc_port: given.GrpcPortOption = None,
    node_http_port: given.NodePortOption = None,
    broker_port: given.BrokerPortOption = None,
    namespace: given.OwnNamespaceOption = None,
    threads: given.ThreadsOption = None,
    dynamic_member: given.DynamicOption = False,
    locked: given.LockedOption = False,
    detach: given.DetachOption = False,
    testing: given.TestingOption = False,
) -> int:
    """Serve models until Ctrl-C; says the addresses when ready."""
    settings = load_settings(
        config,
        role=role,
        bootstrap_servers=bootstrap_servers,
        data_dir=data_dir,
        host=host,
        insecure_bind=insecure_bind or None,
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
