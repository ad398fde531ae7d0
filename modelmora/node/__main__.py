"""`python -m modelmora.node`: starts the zygote, whose imports take longest, and then the node."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn

from modelmora.errors import ModelMoraError
from modelmora.registry.definitions import modules_of
from modelmora.settings import load_settings
from modelmora.surroundings import settle
from modelmora.telemetry.logs import configure
from modelmora.workers import linux
from modelmora.workers.handle import spawn_zygote


def main() -> NoReturn:
    """Run the node with the settings of the environment, then end the process."""
    # Requests make no cycles, and thousands of them are alive: looking for some at every 700th
    # new object cost a quarter of the time of the node.
    gc.set_threshold(50_000, 20, 100)
    try:
        settle()
        settings = load_settings()
        configure(settings.log, "node")
        zygote = spawn_zygote(modules_of(settings)) if linux.supported else None
    except ModelMoraError as error:
        sys.stderr.write(f"modelmora: {error}\n")
        sys.exit(error.exit_code)
    import uvloop

    from modelmora.node.process import live

    uvloop.run(live(settings, zygote))
    raise AssertionError("the node ends its process")


if __name__ == "__main__":
    main()
