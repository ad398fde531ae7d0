"""Large content: put, get, sign, sweep."""

from modelmora.objects.contents import content_of, stored_form
from modelmora.objects.keys import Key, owner_of
from modelmora.objects.objects import Objects, Upload, open_objects
from modelmora.objects.store import Bad, Full, Store

__all__ = [
    "Bad",
    "Full",
    "Key",
    "Objects",
    "Store",
    "Upload",
    "content_of",
    "open_objects",
    "owner_of",
    "stored_form",
]
