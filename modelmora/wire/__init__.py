"""Bytes to messages and back: Avro of the pinned schemas, single-object or Confluent's framing."""

from modelmora.wire.codec import (
    decode_control,
    decode_event,
    decode_progress,
    decode_registry,
    decode_request,
    decode_request_head,
    decode_result,
    decode_result_source,
    encode_control,
    encode_event,
    encode_outputs,
    encode_progress,
    encode_registry,
    encode_request,
    encode_result,
    encode_result_head,
    readable_request_id,
)
from modelmora.wire.framing import Framing, id_of, is_framed
from modelmora.wire.ids import new_request_id, partition_of, time_of

__all__ = [
    "Framing",
    "decode_control",
    "decode_event",
    "decode_progress",
    "decode_registry",
    "decode_request",
    "decode_request_head",
    "decode_result",
    "decode_result_source",
    "encode_control",
    "encode_event",
    "encode_outputs",
    "encode_progress",
    "encode_registry",
    "encode_request",
    "encode_result",
    "encode_result_head",
    "id_of",
    "is_framed",
    "new_request_id",
    "partition_of",
    "readable_request_id",
    "time_of",
]
