"""One request in, one outcome out: the hall that all requests pass."""

from modelmora.serving.cancels import Cancel
from modelmora.serving.clock import BrokerClock
from modelmora.serving.models import Catalogue
from modelmora.serving.offered import Offered
from modelmora.serving.request import CopyOf, Incoming, Outcomes, Record
from modelmora.serving.service import Service
from modelmora.wire.handed import HandedOn

__all__ = [
    "BrokerClock",
    "Cancel",
    "Catalogue",
    "CopyOf",
    "HandedOn",
    "Incoming",
    "Offered",
    "Outcomes",
    "Record",
    "Service",
]
