"""A turn of a conversation as our gRPC services have it, and back."""

from __future__ import annotations

from typing import Any

from modelmora.messages import ChatMessage, ToolCall
from modelmora.rpc.v1 import inference_pb2 as pb


def message_of(turn: ChatMessage) -> Any:
    """The turn in a message."""
    calls = [
        pb.ToolCall(id=call.id, name=call.name, arguments=call.arguments)
        for call in turn.tool_calls or ()
    ]
    return pb.ChatMessage(
        role=turn.role,
        content=turn.content,
        name=turn.name,
        tool_calls=calls,
        tool_call_id=turn.tool_call_id,
    )


def turn_of(message: Any) -> ChatMessage:
    """The turn that is in a message."""
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls)
    return ChatMessage(
        message.role,
        message.content,
        message.name if message.HasField("name") else None,
        calls or None,
        message.tool_call_id if message.HasField("tool_call_id") else None,
    )
