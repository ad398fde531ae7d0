"""`python -m tests.dying`: a node that is killed once it has uploaded an object, if told so.

It is told by a file `kill` in its data folder, which it takes with it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from modelmora.node.__main__ import main
from modelmora.objects.folder import FolderStore

TOLD = Path(os.environ["MODELMORA_DATA_DIR"]) / "kill"


def put_and_die(self: FolderStore, name: str, content: bytes | Path, media_type: str) -> None:
    """Keep it whole; nobody hears of it."""
    _put(self, name, content, media_type)
    if TOLD.exists():
        TOLD.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


_put = FolderStore.put

if __name__ == "__main__":
    FolderStore.put = put_and_die  # type: ignore[method-assign]
    main()
