"""A client that manages topics has threads: they end with whoever made it."""

from __future__ import annotations

import gc
import weakref

from modelmora.kafka.admin import Admin
from modelmora.settings import Settings


def test_the_client_ends_with_its_owner_and_not_with_the_collector() -> None:
    gc.disable()  # as good as off in a node
    try:
        admin = Admin(Settings(bootstrap_servers="127.0.0.1:1"))
        held = weakref.ref(admin._client)
        del admin
        assert held() is None
    finally:
        gc.enable()
