"""What lies in the shared caches of models, who uses it, and what can go."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelmora.errors import ModelMoraError
from modelmora.records import details_of
from modelmora.records.reading import kept
from modelmora.registry.definitions import places, served_or_faults
from modelmora.registry.sources import Scheme, Sources
from modelmora.settings import Settings

Use = tuple[str, str | None]
"""A source, and the revision of it that a model has; None is whatever is here."""


@dataclass(frozen=True, slots=True)
class Cached:
    """One revision of a source on this disk; without a revision the rest of a fetch.

    `used_at` is when a file of it was read or written last (Unix s), as far as the disk notes
    that, which most do once a day. `models` are those that have it, `claimed`: somebody fetches or
    deletes it now.
    """

    source: str
    revision: str | None
    path: Path
    size_bytes: int
    used_at: float
    models: tuple[str, ...]
    claimed: bool

    @property
    def is_of_the_hub(self) -> bool:
        """It lies in the hub's own cache, which other programs have a share in."""
        return self.source.startswith(f"{Scheme.HUB}:")


def cached(settings: Settings) -> list[Cached]:
    """All that lies in the caches of these settings, by source. Raises OSError."""
    sources = Sources(settings)
    users = _users(settings, sources)
    named = {source for _, (source, _) in users}
    found = [
        _entry(source, revision, path, claim, users)
        for source, revision, path, claim in (*sources.cache.lying(named), *_of_the_hub(sources))
    ]
    return sorted(found, key=lambda each: (each.source, each.revision or ""))


def clean(
    settings: Settings, unused_s: float, *, hub: bool = False, dry_run: bool = False
) -> list[Cached]:
    """Delete what no model has and nobody has used for so long; what that is. Raises OSError.

    Models are those of this data folder and of the registry as its node has read it last. Of the
    hub's cache nothing goes but with `hub`. `dry_run` only looks.
    """
    before = time.time() - unused_s
    gone = [
        each
        for each in cached(settings)
        if not (each.models or each.claimed or each.used_at > before)
        and (hub or not each.is_of_the_hub)
    ]
    sources = Sources(settings)
    for each in () if dry_run else gone:
        if each.revision is None:
            sources.cache.drop(each.path)
        elif each.is_of_the_hub:
            sources.of(sources.parse(each.source)).discard(each.revision)
        else:
            sources.cache.delete(each.path)
    return gone


def users_of(found: Iterable[tuple[str, Use]], source: str, revision: str) -> tuple[str, ...]:
    """Which models have a revision of a source."""
    return tuple(
        sorted({model for model, use in found if use in ((source, revision), (source, None))})
    )


def _users(settings: Settings, sources: Sources) -> list[tuple[str, Use]]:
    """The models of this folder and of the registry, with what they have."""
    own = served_or_faults(settings).definitions
    found = [(each.key, places(each.source, each.details)) for each in own]
    models = kept(settings).models()
    found += [(each.key, places(each.source, details_of(each))) for each in models]
    return [
        ("@".join(key), (_plain(sources, text), revision))
        for key, uses in found
        for text, revision in uses
    ]


def _plain(sources: Sources, text: str) -> str:
    """A source as the cache calls it, however a definition does."""
    with suppress(ModelMoraError):
        return str(sources.parse(text))
    return text


def _entry(
    source: str, revision: str | None, path: Path, claim: Path, users: list[tuple[str, Use]]
) -> Cached:
    size, used_at = 0, 0.0
    for file in {each.resolve() for each in path.rglob("*") if each.is_file()}:
        try:
            stat = file.stat()
        except FileNotFoundError:  # gone while we look
            continue
        size += stat.st_size
        used_at = max(used_at, stat.st_atime, stat.st_mtime)
    models = users_of(users, source, revision) if revision else ()
    return Cached(source, revision, path, size, used_at, models, claim.exists())


def _of_the_hub(sources: Sources) -> Iterator[tuple[str, str | None, Path, Path]]:
    """The snapshots in the hub's layout: models--ORG--NAME/snapshots/COMMIT."""
    root = sources.hub_cache
    for folder in sorted(root.glob("models--*--*")):
        source = f"{Scheme.HUB}:{folder.name.removeprefix('models--').replace('--', '/', 1)}"
        claim = root / ".locks" / folder.name / "modelmora.claim"
        for snapshot in sorted(folder.glob("snapshots/*")):
            if snapshot.is_dir():
                yield source, snapshot.name, snapshot, claim
