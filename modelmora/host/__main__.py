"""`python -m modelmora.host [CONFIG]`: an instance in the background, whose starter shows it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelmora.errors import ModelMoraError
from modelmora.host.face import Face
from modelmora.host.runfile import RunInfo
from modelmora.host.serve import run_serve
from modelmora.settings import Settings, load_settings
from modelmora.surroundings import settle


class _Phases(Face):
    """Leaves it to the starter to say where all is."""

    def ready(self, settings: Settings, info: RunInfo, models: Sequence[Mapping[str, Any]]) -> None:
        pass


def main() -> int:
    """Serve with the settings of the environment, which came from the file CONFIG."""
    try:
        settle()
        config = Path(sys.argv[1]) if sys.argv[1:] else None
        return run_serve(load_settings(), config, _Phases())
    except ModelMoraError as error:
        sys.stderr.write(f"modelmora: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
