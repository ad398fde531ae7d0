"""The gateway's records lie where the registry places them."""

from __future__ import annotations

import json
from dataclasses import replace

from modelmora.gateway.calls.requests import Requests
from modelmora.gateway.hall import Ask
from modelmora.kafka.pulse import Pulse, Shape
from modelmora.kafka.topics import lane_topics
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.settings import Settings
from modelmora.wire import new_request_id, place_of

HOT = RegistryRecord(RegistryKind.MODEL, "hot", "1", "echo", "builtin:echo", "w")


def test_a_spread_model_lies_on_the_partition_of_each_id() -> None:
    settings, state = Settings(bootstrap_servers="localhost:1"), Registry()
    hot = state.settled(replace(HOT, details=json.dumps({"spread": 3})), 0)
    state.take(key_of(hot), hot, 0)
    pulse = Pulse(settings, [])
    requests = Requests(settings, "gateway", state, pulse)
    request_id = new_request_id()
    # Nobody has told yet how many partitions there are.
    assert requests.record(request_id, Ask("rest", "hot", ("x",))).partition is None
    pulse.shapes = {topic: Shape("id", 12) for topic in lane_topics(settings)}
    for model in ("hot", "hot@1"):
        record = requests.record(request_id, Ask("rest", model, ("x",)))
        assert record.partition == place_of("hot", request_id, 3, 12)
        assert record.key == b"hot"
    assert requests.record(request_id, Ask("rest", "other", ("x",))).partition is None
