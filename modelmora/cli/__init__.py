"""The `modelmora` command: how a person starts it, asks it and looks into it."""

from __future__ import annotations

from collections.abc import Sequence

from modelmora.surroundings import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, as `modelmora.cli.app.main` does; Ctrl-C may come while that is imported."""
    try:
        from modelmora.cli.app import main as run

        return run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
