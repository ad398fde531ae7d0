"""`python -m modelmora.bench`: measure this machine."""

import sys

from modelmora.bench.run import main

sys.exit(main())
