"""How fast this machine serves, beside plain Faust and the raw clients, in one run."""

from modelmora.bench.run import main

__all__ = ["main"]
