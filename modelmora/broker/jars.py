"""Apache Kafka's jars: fetched once by jgo, kept in the user's cache, checked by sha256 every time.

`jars.sha256` beside this file pins every jar by its path in a Maven repository, so nothing is
resolved at run time: a missing jar is fetched by name, and no other bytes are ever run. Checking
the broker's takes 0.03 s (46 jars, 44 MB, measured), which is why there is no stamp to trust.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.resources
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modelmora.errors import ConfigurationError, MissingExtra, ModelMoraError

SUMS_FILE = "jars.sha256"
SECTIONS = ("broker", "tools")
DOWNLOADS_AT_ONCE = 8
ATTEMPTS = 2

Progress = Callable[[int, int], None]
"""Called with (done, to do), first with 0, never when all is there."""


class JarsUnavailable(ModelMoraError):
    """Kafka's jars are not in the cache and cannot be downloaded; is this machine offline?"""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: its path in a Maven repository, its sha256, and which part needs it."""

    path: PurePosixPath
    sha256: str
    section: str

    @property
    def coordinates(self) -> tuple[str, str, str]:
        """(group, artifact, version), read off the path as Maven lays it out."""
        *group, artifact, version, _ = self.path.parts
        return ".".join(group), artifact, version


def parse_sums(text: str) -> tuple[Jar, ...]:
    """Read `sha256  path` lines (as of `sha256sum`) under the comments `# broker`, `# tools`."""
    jars = []
    section = SECTIONS[0]
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line[1:].strip()
            section = heading if heading in SECTIONS else section
        elif line:
            digest, path = line.split(maxsplit=1)
            jars.append(Jar(PurePosixPath(path), digest, section))
    return tuple(jars)


def pinned_jars(*, tools: bool = False) -> tuple[Jar, ...]:
    """The jars of this release: the broker's, with `tools` those of Kafka's console tools too."""
    text = importlib.resources.files(__package__).joinpath(SUMS_FILE).read_text()
    return tuple(jar for jar in parse_sums(text) if tools or jar.section == SECTIONS[0])


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/modelmora`, else `~/.cache/modelmora` (XDG base directories).

    Raises ConfigurationError where there is no home, or a path that Java cannot name.
    """
    named = environment.get("XDG_CACHE_HOME", "")
    try:
        base = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        raise ConfigurationError(
            "there is no home directory to cache Kafka in; set XDG_CACHE_HOME to a folder"
        ) from None
    if ":" in str(base):
        raise ConfigurationError(
            f"Java cannot find jars in {base}, for its colon; set XDG_CACHE_HOME to another folder"
        )
    return base / "modelmora"


def ensure_jars(
    *, tools: bool = False, cache: Path | None = None, progress: Progress | None = None
) -> str:
    """Have every pinned jar in the cache, intact, and return the class path for `java -cp`.

    Jars that are absent or damaged are downloaded (46 jars, 44 MB the first time). Several
    processes may call this at once. Raises JarsUnavailable (offline, or Maven Central sends other
    bytes than were pinned), MissingExtra (jgo is needed and not installed) and
    ConfigurationError (the cache cannot be written).
    """
    return class_path(pinned_jars(tools=tools), cache, progress)


def class_path(
    jars: tuple[Jar, ...], cache: Path | None = None, progress: Progress | None = None
) -> str:
    """The same of any jars that are pinned; see `ensure_jars`."""
    folder = (cache or cache_folder()) / "jars"
    if _unusable(jars, folder):
        try:
            with locked(folder):
                _fetch(_unusable(jars, folder), folder, progress)
        except OSError as error:
            raise ConfigurationError(
                f"Kafka's jars cannot be kept in {folder}: {error.strerror or error}; "
                "set XDG_CACHE_HOME to a folder that can be written"
            ) from None
    return os.pathsep.join(str(folder / jar.path) for jar in jars)


def _unusable(jars: tuple[Jar, ...], folder: Path) -> tuple[Jar, ...]:
    return tuple(jar for jar in jars if not _intact(jar, folder / jar.path))


def _intact(jar: Jar, path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have the folder, and be the only one that changes it; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(jars: tuple[Jar, ...], folder: Path, progress: Progress | None) -> None:
    """Download into a folder aside and move each jar into place once its sum is right."""
    report = progress or (lambda _done, _total: None)
    if not jars:
        return
    report(0, len(jars))
    with (
        tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as aside,
        ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool,
    ):
        download = _downloader(Path(aside))
        waiting = {pool.submit(download, jar): jar for jar in jars}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                target = folder / waiting[future].path
                target.parent.mkdir(parents=True, exist_ok=True)
                future.result().replace(target)
                report(done, len(jars))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _downloader(repository: Path) -> Callable[[Jar], Path]:
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext, PythonResolver
    except ImportError:
        raise MissingExtra("broker", "downloading Kafka") from None

    repositories = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    context = MavenContext(PythonResolver(), repository, remote_repos=repositories)

    def download(jar: Jar) -> Path:
        path = _download(context, jar)
        if not _intact(jar, path):
            raise JarsUnavailable(
                f"{jar.path.name} as downloaded is not the file this release was tested with "
                "(its sha256 differs); try again, and if it stays so report it"
            )
        return path

    return download


def _download(context: Any, jar: Jar) -> Path:
    group, artifact, version = jar.coordinates
    wanted = context.project(group, artifact).at_version(version).artifact()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            path: Path = wanted.resolve()
            return path
        # requests' errors are OSErrors; jgo says RuntimeError when a server answers "no".
        except (OSError, RuntimeError) as error:
            # jgo leaves what it has written of a file that broke off.
            wanted.cached_path.unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise JarsUnavailable(
                    f"Kafka's jars cannot be downloaded ({jar.path.name}: "
                    f"{_reason(error)}); go online once, or use a cluster with --bootstrap-servers"
                ) from None
    raise AssertionError("unreachable")


def _reason(error: Exception) -> str:
    """The shortest true reason: the class of a network error, else its first line."""
    import requests

    if isinstance(error, requests.ConnectionError):
        return "no connection to Maven Central"
    if isinstance(error, requests.Timeout):
        return "Maven Central does not answer"
    return str(error).partition("\n")[0][:200]
