"""From what a definition says to the source that is meant."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from modelmora.registry.sources.base import Source
from modelmora.registry.sources.cache import Cache
from modelmora.registry.sources.hub import Hub, default_cache
from modelmora.registry.sources.local import Local
from modelmora.registry.sources.packages import Package, is_installed
from modelmora.registry.sources.references import Reference, Scheme, parse
from modelmora.registry.sources.s3 import S3
from modelmora.registry.sources.web import Web
from modelmora.settings import Settings

PACKAGE = f"{Scheme.PACKAGE}:"
BUILT_IN = f"{Scheme.BUILT_IN}:"


class _Here:
    """This machine, as `parse` asks about it."""

    def has_path(self, path: str) -> bool:
        try:
            return Path(path).expanduser().exists()
        except (OSError, RuntimeError):  # too long, a user that is not there
            return False

    def has_package(self, name: str) -> bool:
        return is_installed(name)


@dataclass(frozen=True, slots=True)
class Sources:
    """All sources, as the settings have them."""

    settings: Settings

    def parse(self, text: str) -> Reference:
        """What a person means; raises ConfigurationError or NotFound."""
        return parse(text, _Here())

    def of(self, reference: Reference) -> Source:
        """Where a reference leads; nothing is asked yet."""
        chosen = self.settings.sources
        match reference.scheme:
            case Scheme.HUB:
                return Hub(reference.place, reference.revision, self.hub_cache)
            case Scheme.S3:
                return S3(reference.place, chosen.s3_endpoint, self.cache)
            case Scheme.WEB:
                hosts = frozenset(chosen.allowed_hosts)
                return Web(reference.place, hosts, chosen.private_addresses, self.cache)
            case Scheme.PACKAGE:
                return Package(reference.place.strip())
        return Local(reference.place)

    def folder(self, source: str, revision: str | None) -> Path:
        """Where a definition's model lies on this machine; no network is asked.

        Raises NotFound where it does not, ConfigurationError where it is no model.
        """
        return self.of(self.parse(source)).folder(revision)

    @property
    def cache(self) -> Cache:
        """Where models of S3 and the web lie."""
        above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        return Cache(self.settings.cache_dir or above / "modelmora" / "models")

    @property
    def hub_cache(self) -> Path:
        """Where models of the hub lie."""
        own = self.settings.cache_dir
        return own / "hub" if own else default_cache(os.environ)
