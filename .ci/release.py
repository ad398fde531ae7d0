"""A release: one version everywhere, a changelog that tells of it, an sdist of the same bytes.

`check [TAG]` looks at the version in all its places, with a tag at whether all is ready for it;
`notes` prints what the changelog says of the version; `steady SDIST TIME` writes the sdist anew as
any machine makes it, TIME in Unix seconds.
"""

from __future__ import annotations

import gzip
import re
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = {
    "modelmora/__init__.py": r'^__version__ = "([^"]+)"$',
    "k8s/chart/Chart.yaml": r"^appVersion: (\S+)$",
    "Dockerfile": r'image\.version="([^"]+)"',
    "docker-compose.kafka.yml": r"^  image: modelmora:(\S+)$",
    "docs/howto/install.md": r"modelmora-(\S+?)-py3-none-any\.whl",
}
"""Where the version stands beside pyproject.toml, for whom cannot read that."""


def version(root: Path = ROOT) -> str:
    """The one that counts."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def section(root: Path, name: str) -> tuple[str, str] | None:
    """What the changelog says behind a version's name, such as its date, and of the version."""
    text = (root / "CHANGELOG.md").read_text()
    parts = re.split(r"^## \[([^\]]+)\](.*)\n", text, flags=re.MULTILINE)
    for found, behind, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if found == name:
            return behind.removeprefix(" - ").strip(), body.strip()
    return None


def faults(root: Path, tag: str | None) -> Iterator[str]:
    """What is wrong, a line each, with what to do."""
    own = version(root)
    for path, pattern in PLACES.items():
        found = set(re.findall(pattern, (root / path).read_text(), re.MULTILINE))
        if found != {own}:
            told = ", ".join(sorted(found)) or "no version"
            yield f"{path} says {told}, pyproject.toml {own}; make them one"
    if not section(root, own):
        yield f"CHANGELOG.md has no section [{own}]; add it"
    elif tag is not None:
        yield from _unready(root, own, tag)


def _unready(root: Path, own: str, tag: str) -> Iterator[str]:
    if tag != f"v{own}":
        yield f"the tag is {tag} and the version {own}; tag v{own}, or change the version first"
    when, body = section(root, own) or ("", "")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", when):
        yield f"CHANGELOG.md dates [{own}] as {when!r}; write the day, as 2026-12-31"
    if not body:
        yield f"CHANGELOG.md says nothing of [{own}]; move there what is under [Unreleased]"
    left = section(root, "Unreleased")
    if left and re.search(r"^- ", left[1], re.MULTILINE):
        yield f"CHANGELOG.md still has entries under [Unreleased]; move them to [{own}]"


def steady(sdist: Path, at: int) -> None:
    """Write it anew: sorted, of nobody, with one time, and modes that no umask changes."""
    with tarfile.open(sdist) as archive:
        members = sorted(archive.getmembers(), key=lambda each: each.name)
        contents = {each.name: archive.extractfile(each) for each in members}
        files = {name: file.read() if file else None for name, file in contents.items()}
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each in members:
            each.mtime, each.uid, each.gid, each.uname, each.gname = at, 0, 0, "", ""
            each.mode = 0o755 if each.isdir() or each.mode & 0o100 else 0o644
            each.pax_headers = {}
            data = files[each.name]
            archive.addfile(each, None if data is None else BytesIO(data))
    sdist.write_bytes(gzip.compress(packed.getvalue(), mtime=at))


def main(arguments: list[str]) -> int:
    """The command; its exit code."""
    match arguments:
        case ["check", *tag] if len(tag) < 2:
            wrong = [*faults(ROOT, tag[0] if tag else None)]
            sys.stderr.writelines(f"{line}\n" for line in wrong)
            return 1 if wrong else 0
        case ["notes"]:
            print((section(ROOT, version()) or ("", ""))[1])
            return 0
        case ["steady", sdist, at] if at.isdecimal():
            steady(Path(sdist), int(at))
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
