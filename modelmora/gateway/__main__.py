"""`python -m modelmora.gateway`: a gateway with the settings of file and environment."""

import sys

from modelmora.gateway.app import run

if __name__ == "__main__":
    sys.exit(run())
