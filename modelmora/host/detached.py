"""An instance in the background: started, and ended from another process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from modelmora.broker.lock import FolderLock
from modelmora.errors import ConfigurationError, ModelMoraError
from modelmora.host.environment import child_environment, write_empty_config
from modelmora.host.face import Starter
from modelmora.host.folder import LOCK, writing
from modelmora.host.logfile import log_folder
from modelmora.host.runfile import RunInfo, read_run
from modelmora.host.serve import models_of
from modelmora.settings import Settings
from modelmora.surroundings import interpreter

LOOK_S = 0.05
SLACK_S = 15.0
NOT_READY = 1
"""Of one that was stopped while it started."""


def serve_detached(settings: Settings, config: Path | None) -> int:
    """Start an instance that lives on after us; 0 once it is ready, else an exit code.

    What it says until then is relayed; its log goes to the data folder only. Raises what
    `DataFolder.open` does where that cannot be written.
    """
    folder = settings.data_dir.absolute()
    with writing(folder):
        log_folder(folder).mkdir(parents=True, exist_ok=True)
        empty = write_empty_config(folder)
        words = (log_folder(folder) / "serve.err").open("a+b")
        if owner(folder) is None:  # else they are those of one that runs, and ours will be refused
            words.truncate(0)
    said = words.seek(0, os.SEEK_END)
    quiet = settings.log.model_copy(update={"format": "none"})
    handed = settings.model_copy(update={"data_dir": folder, "log": quiet})
    with words:
        process = subprocess.Popen(
            [*interpreter("modelmora.host"), *([str(config.absolute())] if config else [])],
            env=child_environment(handed, os.environ, empty),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )
        info = _until_ready(process, folder, words, said)
    if info is None:
        return process.returncode or NOT_READY
    Starter().ready(handed, info, models_of(info, handed))
    return 0


def _until_ready(
    process: subprocess.Popen[bytes], folder: Path, words: BinaryIO, read: int
) -> RunInfo | None:
    """Relay its words until it is found in its run file; None when it has ended instead."""
    try:
        while True:
            code = process.poll()
            info = read_run(folder)
            read = _relay(words, read)
            if info and info.pid == process.pid:
                return info
            if code is not None:
                return None
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        _relay(words, read)
        raise


def _relay(words: BinaryIO, read: int) -> int:
    new = os.pread(words.fileno(), 1 << 16, read)
    sys.stderr.write(new.decode("utf-8", "replace"))
    sys.stderr.flush()
    return read + len(new)


def owner(data_dir: Path) -> int | None:
    """The process that runs, starts or stops on a data folder.

    Raises ConfigurationError where that cannot be seen: it is another user's folder.
    """
    lock = FolderLock(data_dir.absolute() / LOCK)
    try:
        return lock.owner() if lock.held() else None
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {data_dir} cannot be read: {error.strerror or error}"
        ) from None


def stop(pid: int, timeout_s: float) -> None:
    """SIGTERM, and wait for the end; a KeyboardInterrupt meanwhile hurries it.

    Raises ModelMoraError when it does not end, or may not be told to.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for patience_s in (timeout_s + SLACK_S, SLACK_S):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            try:
                ended, _, _ = select.select([handle], [], [], patience_s)
            except KeyboardInterrupt:
                continue
            if ended:
                return
        raise ModelMoraError(f"process {pid} does not end; `kill -9 {pid}` ends it at once")
    except ProcessLookupError:
        return
    except PermissionError:
        raise ModelMoraError(f"process {pid} is another user's; stop it as that user") from None
    finally:
        os.close(handle)
