"""`python -m modelmora.cli` is the `modelmora` command."""

from __future__ import annotations

import sys

from modelmora.cli import main

sys.exit(main())
