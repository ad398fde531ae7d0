"""ModelMora for programs that speak Kafka themselves: ask, await replies, follow what is told."""

from modelmora.client.kafka.aio import AsyncKafkaClient
from modelmora.client.kafka.asking import AsyncReply
from modelmora.client.kafka.subscription import Subscription
from modelmora.client.kafka.sync import KafkaClient, Reply

__all__ = ["AsyncKafkaClient", "AsyncReply", "KafkaClient", "Reply", "Subscription"]
