"""A model of the Hugging Face hub, in the cache that every program of its makers shares."""

from __future__ import annotations

import errno
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from modelmora.errors import ConfigurationError, MissingExtra, NotFound, Unreachable
from modelmora.registry.files import write_atomically
from modelmora.registry.sources.base import Check, Corrupt, File, Found, Progress
from modelmora.registry.sources.cache import missing, verify
from modelmora.registry.sources.cards import told_of
from modelmora.registry.sources.lease import claimed
from modelmora.settings import Licence
from modelmora.text import printable

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Hub:
    """`org/name`; the layout of `cache` is the hub's own, published one.

    HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured.
    """

    repository: str
    wanted: str | None
    cache: Path

    def resolve(self) -> Found:
        """The commit that the branch or tag stands for now, and what is in it."""
        if _is_offline():
            return self._known()
        with _told_plainly(self.repository):
            info = _api().model_info(self.repository, revision=self.wanted, files_metadata=True)
        files = tuple(_file(each) for each in info.siblings or ())
        if not info.sha or not _COMMIT.fullmatch(info.sha):
            raise Unreachable(f"the hub names no commit of {self.repository}; is HF_ENDPOINT one?")
        card = info.card_data.to_dict() if info.card_data else {}
        named = printable(str(card.get("license") or "")).strip()[:60]
        licence = Licence(name=named, read_from="its card on the hub") if named else None
        return Found(info.sha, files, licence, info.pipeline_tag, told_of(card))

    def fetch(
        self, revision: str | None, files: Sequence[File], progress: Progress, check: Check
    ) -> None:
        """Fetch into the cache; what a killed fetch left is gone on from."""
        with claimed(self._claim):
            for file in files:
                with _told_plainly(self.repository):
                    path = self._one(revision or "", file, progress)
                verify(path, file)
                check(file.path, path)
            branch = self.wanted or "main"
            if revision and not _COMMIT.fullmatch(branch):
                write_atomically(self.cache / self._name / "refs" / branch, revision)

    def folder(self, revision: str | None) -> Path:
        """The snapshot of the commit, or of the one that the branch stood for when fetched."""
        commit = revision or self._commit()
        folder = self.cache / self._name / "snapshots" / (commit or "-")
        if commit is None or not folder.is_dir():
            raise missing(f"hf:{self.repository}" + (f"@{commit}" if revision else ""))
        return folder

    def exact(self, revision: str | None) -> str | None:
        """The revision that lies here."""
        return self.folder(revision).name

    def discard(self, revision: str | None) -> int:
        """Delete the snapshot and those of its blobs that no other snapshot links to."""
        folder = self.folder(revision)
        with claimed(self._claim):
            return self._discard(folder)

    def _discard(self, folder: Path) -> int:
        snapshots = folder.parent
        ours = {path.resolve() for path in folder.rglob("*") if path.is_file()}
        shutil.rmtree(folder)
        others = {path.resolve() for path in snapshots.rglob("*") if path.is_symlink()}
        freed = 0
        for blob in ours - others:
            if blob.exists():
                freed += blob.stat().st_size
                blob.unlink()
        if not any(snapshots.iterdir()):
            shutil.rmtree(self.cache / self._name)
        return freed

    @property
    def _claim(self) -> Path:
        return self.cache / ".locks" / self._name / "modelmora.claim"

    @property
    def _name(self) -> str:
        return "models--" + self.repository.replace("/", "--")

    def _one(self, revision: str, file: File, progress: Progress) -> Path:
        from huggingface_hub import hf_hub_download

        with _disk_kept(self.cache / self._name / "blobs"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would print what we tell in our words
            path = hf_hub_download(
                self.repository,
                file.path,
                revision=revision,
                cache_dir=self.cache,
                endpoint=os.environ.get("HF_ENDPOINT") or None,
                token=os.environ.get("HF_TOKEN") or None,
                local_files_only=_is_offline(),
                tqdm_class=_bar(file, progress),
            )
        progress(file.path, file.size, file.size)
        return Path(path)

    def _commit(self) -> str | None:
        """The commit that is wanted, as far as the cache knows."""
        wanted = self.wanted or "main"
        if _COMMIT.fullmatch(wanted):
            return wanted
        try:
            commit = (self.cache / self._name / "refs" / wanted).read_text().strip()
        except OSError:
            return None
        return commit if _COMMIT.fullmatch(commit) else None

    def _known(self) -> Found:
        from modelmora.registry.sources.local import files_in, licence_in

        commit = self._commit()
        if commit is None:
            raise NotFound(
                f"hf:{self.repository} is not in {self.cache}, and HF_HUB_OFFLINE is set"
            )
        folder = self.folder(commit)
        return Found(commit, files_in(folder), licence_in(folder))


def default_cache(environment: Mapping[str, str]) -> Path:
    """Where the hub's own programs keep models."""
    if given := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(given).expanduser()
    home = environment.get("HF_HOME")
    above = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    return (Path(home) if home else above / "huggingface").expanduser() / "hub"


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or None
    )


def _file(sibling: Any) -> File:
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    git = None if sibling.lfs else sibling.blob_id
    return File(sibling.rfilename, sibling.size or 0, sha256, git)


@contextmanager
def _told_plainly(repository: str) -> Iterator[None]:
    """The library's errors in our words, and that it is not installed."""
    import httpx

    try:
        from huggingface_hub import errors
    except ImportError:
        raise MissingExtra("engines", "a model of the hub") from None
    try:
        yield
    except errors.GatedRepoError:
        raise ConfigurationError(
            f"hf:{repository} is gated: accept its terms on the hub and set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise NotFound(f"hf:{repository} has no such revision") from None
    except errors.RepositoryNotFoundError:
        raise NotFound(
            f"the hub has no model {repository}, or it is private: then set HF_TOKEN"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, httpx.TransportError):
        raise Unreachable(
            "the hub does not answer; is there a network, and HF_ENDPOINT right?"
        ) from (None)
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise Unreachable(f"the hub refuses hf:{repository} ({status}); try again later") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise Corrupt(f"a file of hf:{repository} did not come whole; install it again") from None


@contextmanager
def _disk_kept(blobs: Path) -> Iterator[None]:
    """Where the disk is full, or a file has no end, leave nothing half on it."""
    try:
        yield
    except (Corrupt, OSError) as error:
        if isinstance(error, Corrupt) or error.errno in (errno.ENOSPC, errno.EDQUOT):
            for part in blobs.glob("*.incomplete"):
                part.unlink(missing_ok=True)
        raise


class _Bar:
    """What the library calls as it goes on, in place of a bar of its own."""

    def __init__(self, file: File, progress: Progress, done: int) -> None:
        self._file, self._progress, self._done = file, progress, done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, count: float = 1) -> None:
        self._done += int(count)
        if self._done > self._file.size:
            raise Corrupt(f"{self._file.path} is longer than its source tells")
        self._progress(self._file.path, self._done, self._file.size)


def _bar(file: File, progress: Progress) -> Any:
    def make(initial: int = 0, **_: object) -> _Bar:
        return _Bar(file, progress, initial)

    return make
