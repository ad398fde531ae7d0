"""One request in, one outcome out: the hall that all requests pass."""

from modelmora.serving.clock import BrokerClock
from modelmora.serving.models import Catalogue
from modelmora.serving.request import Incoming, Outcomes, Record
from modelmora.serving.service import Service

__all__ = ["BrokerClock", "Catalogue", "Incoming", "Outcomes", "Record", "Service"]
