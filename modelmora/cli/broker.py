"""`modelmora broker`: the embedded Kafka by itself."""

from __future__ import annotations

from typing import Annotated

import typer

from modelmora.cli.shared.options import ConfigOption, DataDirOption, JsonOption
from modelmora.cli.shared.output import print_json, say, tell
from modelmora.settings import load_settings


def broker(
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Where it listens (0 = any, then kept).")
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Run the embedded Kafka until Ctrl-C; prints its address when ready."""
    settings = load_settings(config, data_dir=data_dir, broker_port=port)
    from modelmora.broker import EmbeddedBroker
    from modelmora.broker.foreground import run_broker

    def ready(started: EmbeddedBroker) -> None:
        address = {"bootstrap_servers": started.bootstrap_servers, "pid": started.pid}
        if json:
            print_json(address, line=True)
        else:
            tell(started.bootstrap_servers)
            say(f"Kafka is ready; its data is in {started.folder}. Ctrl-C stops it.")

    def progress(done: int, total: int) -> None:
        if done in (0, total):
            say(f"preparing Kafka, once only: {done} of {total}")

    return run_broker(settings, on_ready=ready, progress=progress)
