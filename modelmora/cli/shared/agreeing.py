"""Asking a person before something is changed."""

from __future__ import annotations

import sys

import typer

from modelmora.errors import ConfigurationError


def agreed(question: str, *, yes: bool) -> bool:
    """Whether a person agrees, or has before. Raises ConfigurationError where nobody is there."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError("nobody is there to agree; pass --yes to do it")
    return bool(typer.confirm(question, err=True))
