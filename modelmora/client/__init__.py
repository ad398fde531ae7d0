"""ModelMora's client: models asked over gRPC, from plain and from asyncio programs."""

from modelmora.client.aio import AsyncClient
from modelmora.client.content import Answer
from modelmora.client.errors import CallError, DeadlineExceeded, GatewayUnreachable
from modelmora.client.gateways import Options
from modelmora.client.sync import Client

__all__ = [
    "Answer",
    "AsyncClient",
    "CallError",
    "Client",
    "DeadlineExceeded",
    "GatewayUnreachable",
    "Options",
]
