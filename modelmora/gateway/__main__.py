"""`python -m modelmora.gateway`: a gateway with the settings of file and environment."""

import os
import sys

if __name__ == "__main__":
    # It is read as gRPC is imported, which else writes a line past our log for each stranger whose
    # handshake fails.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from modelmora.gateway.app import run

    sys.exit(run())
