"""Imported by a zygote in a test: it starts a thread, so that a fork is not safe."""

from __future__ import annotations

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
