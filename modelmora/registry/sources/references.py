"""What a person writes to say where a model is, and what is meant by it; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from modelmora.errors import ConfigurationError, NotFound
from modelmora.text import did_you_mean, printable, shorten

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[\w./-]{1,120}", re.ASCII)
_SUM = re.compile(r"sha256=[0-9a-fA-F]{64}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+]+):(.*)", re.DOTALL)


class Scheme(StrEnum):
    """The kinds of sources."""

    HUB = "hf"
    PACKAGE = "package"
    FOLDER = "folder"
    S3 = "s3"
    WEB = "https"
    BUILT_IN = "builtin"


@dataclass(frozen=True, slots=True)
class Reference:
    """A source; `place` is its repository, distribution, path, bucket and prefix, or address.

    `revision` is a branch, tag or commit of the hub, where one was named.
    """

    scheme: Scheme
    place: str
    revision: str | None = None

    def __str__(self) -> str:
        """As it stands in a definition: without a revision, which has a field of its own there."""
        match self.scheme:
            case Scheme.FOLDER:
                return self.place
            case Scheme.S3 | Scheme.WEB:
                return f"{self.scheme}://{self.place}"
        return f"{self.scheme}:{self.place}"


class Here(Protocol):
    """What there is on this machine."""

    def has_path(self, path: str) -> bool:
        """Whether it is a folder or a file."""
        ...

    def has_package(self, name: str) -> bool:
        """Whether a Python distribution of that name is installed."""
        ...


def parse(text: str, here: Here) -> Reference:
    """What a source means.

    (1) `package:`, `hf:`, `s3://`, `https://`, `builtin:` say it themselves.
    (2) What begins with `.`, `/` or `~` is a path.
    (3) `org/name`, with `@revision` or without, is a model of the hub; where there is a folder of
        that name too, it must be said which.
    (4) A bare word is an installed package, or a path; where it is both, it must be said which.
    Raises ConfigurationError or NotFound, one line that says what to write.
    """
    told = printable(shorten(text, 120))
    if found := _SCHEME.fullmatch(text):
        return _by_scheme(found[1].lower(), found[2].strip(), told)
    is_path = bool(text) and "\0" not in text and here.has_path(text)
    if text.startswith((".", "/", "~")) or (is_path and "/" in text and not _is_hub(text)):
        return Reference(Scheme.FOLDER, text)
    if _is_hub(text):
        if is_path:
            raise ConfigurationError(
                f"`{told}` may be the folder or a model of the hub; write ./{told} or hf:{told}"
            )
        return _hub(text, told)
    is_package = "/" not in text and here.has_package(text)
    if is_path and is_package:
        raise ConfigurationError(
            f"`{told}` may be the path here or the package; write ./{told} or package:{told}"
        )
    if is_package:
        return Reference(Scheme.PACKAGE, text)
    if is_path:
        return Reference(Scheme.FOLDER, text)
    raise NotFound(
        f"there is no folder and no installed package `{told}`; write ./FOLDER, package:NAME, "
        "hf:ORG/NAME, s3://BUCKET/PREFIX or https://HOST/FILE"
    )


def has_scheme(source: str) -> bool:
    """Whether a source means the same on every machine, as no path does."""
    return bool(_SCHEME.fullmatch(source))


def _is_hub(text: str) -> bool:
    return bool(_REPOSITORY.fullmatch(text.partition("@")[0]))


def _by_scheme(scheme: str, rest: str, told: str) -> Reference:
    if scheme in (Scheme.PACKAGE, Scheme.BUILT_IN):
        return Reference(Scheme(scheme), rest)
    if scheme == Scheme.HUB:
        return _hub(rest.strip("/"), told)
    if scheme == Scheme.S3:
        bucket, _, prefix = rest.strip("/").partition("/")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,62}", bucket):
            raise ConfigurationError(f"`{told}` names no bucket; write s3://BUCKET/PREFIX")
        return Reference(Scheme.S3, f"{bucket}/{prefix}")
    if scheme == Scheme.WEB:
        return _web(rest, told)
    if scheme == "http":
        raise ConfigurationError(f"`{told}` would come unprotected; write https://")
    near = did_you_mean(scheme, Scheme)
    raise ConfigurationError(f"`{shorten(scheme, 20)}:` is no kind of source{near}")


def _hub(text: str, told: str) -> Reference:
    name, at, revision = text.partition("@")
    if (
        not _REPOSITORY.fullmatch(name)
        or ".." in text
        or (at and not _REVISION.fullmatch(revision))
    ):
        raise ConfigurationError(f"`{told}` is no model of the hub; write hf:ORG/NAME[@REVISION]")
    return Reference(Scheme.HUB, name, revision or None)


def _web(rest: str, told: str) -> Reference:
    try:
        parts = urlsplit(f"https:{rest}")
        usable = bool(parts.hostname and parts.path.strip("/")) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or rest != printable(rest) or " " in rest:
        raise ConfigurationError(
            f"`{told}` names no file; write https://HOST/FILE.gguf, without a user in it"
        )
    address, hash_sign, wanted = rest.removeprefix("//").partition("#")
    if hash_sign and not _SUM.fullmatch(wanted):
        raise ConfigurationError(
            f"`{told}` ends in no sum of the file; write #sha256= and 64 hex digits, or nothing"
        )
    return Reference(Scheme.WEB, address + hash_sign + wanted.lower())
