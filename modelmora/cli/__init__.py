"""The `modelmora` command: how a person starts it, asks it and looks into it."""

from modelmora.cli.app import main

__all__ = ["main"]
