"""The processes of one machine: started, restarted, found through `run.json`, stopped."""

from __future__ import annotations

from modelmora.host.detached import serve_detached
from modelmora.host.runfile import RunInfo, read_run
from modelmora.host.serve import run_serve, serve

__all__ = ["RunInfo", "read_run", "run_serve", "serve", "serve_detached"]
