"""A child in a fresh interpreter: `python -m modelmora.workers.child FD NODE_PID`."""

from __future__ import annotations

import socket
import sys

from modelmora.workers.child.serve import serve

if __name__ == "__main__":
    sys.exit(serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
