"""Which names from outside may be principals; decides, reads nothing."""

from __future__ import annotations

import re

from modelmora.access.rights import TOPIC
from modelmora.errors import Invalid
from modelmora.messages.headers import LOCAL

USER = "user:"
"""What a principal begins with that the operating system knows: who runs a process or command."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/|+-]{0,127}")
"""Subjects of tokens (`auth0|5f7c`) and of certificates (`spiffe://mesh/ns/web`) among them."""


def principal_named(name: object, what: str) -> str:
    """The principal of this name, which `what` has given. Raises Invalid."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Invalid(f"{what} is no principal: up to 128 of A-Z a-z 0-9 . _ @ : / | + -")
    if name == LOCAL or name.startswith((TOPIC, USER)):
        raise Invalid(f"{what} is {name}, which stands for those whom no gateway has recognised")
    return name
