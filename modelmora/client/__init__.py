"""ModelMora's client: models asked over gRPC, from plain and from asyncio programs."""

from modelmora.client.aio import AsyncClient
from modelmora.client.asks import Input
from modelmora.client.errors import CallError, DeadlineExceeded, GatewayUnreachable
from modelmora.client.jobs import AsyncJob
from modelmora.client.options import Options
from modelmora.client.sync import Client, Job, Stream
from modelmora.client.tracing import tracing
from modelmora.client.values import (
    Accepted,
    Answer,
    Chunk,
    JobStatus,
    Label,
    Model,
    Ranked,
    Standing,
    Started,
    Step,
    Text,
)

__all__ = [
    "Accepted",
    "Answer",
    "AsyncClient",
    "AsyncJob",
    "CallError",
    "Chunk",
    "Client",
    "DeadlineExceeded",
    "GatewayUnreachable",
    "Input",
    "Job",
    "JobStatus",
    "Label",
    "Model",
    "Options",
    "Ranked",
    "Standing",
    "Started",
    "Step",
    "Stream",
    "Text",
    "tracing",
]
