"""What a model's process may touch: its model's files, the libraries, and one socket."""

from modelmora.sandbox.enclosure import MODES, Enclosure, Mode, Unenclosed, enclose, missing_layers

__all__ = ["MODES", "Enclosure", "Mode", "Unenclosed", "enclose", "missing_layers"]
