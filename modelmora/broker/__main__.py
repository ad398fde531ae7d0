"""`python -m modelmora.broker`: the embedded broker in the foreground, as `modelmora broker`."""

from __future__ import annotations

import sys

from modelmora.broker.foreground import run_broker
from modelmora.errors import ModelMoraError
from modelmora.settings import load_settings
from modelmora.surroundings import settle


def main() -> int:
    """Run with the settings of this folder and environment; the exit code."""
    try:
        settle()
        return run_broker(load_settings())
    except ModelMoraError as error:
        sys.stderr.write(f"modelmora: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
