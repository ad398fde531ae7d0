"""What ModelMora is made of: a bill of materials, licences and known faults, held against a list.

.venv/bin/python .ci/supply.py check [FOLDER]       the checks; the bill goes into FOLDER
.venv/bin/python .ci/supply.py advisories CHECKOUT  take advisories anew (pypa/advisory-database)
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCK, LIST = ROOT / "requirements.lock", ROOT / ".ci" / "supply.toml"
ADVISORIES = ROOT / ".ci" / "advisories.json"
OURS, TOOLS = "modelmora", "dev"


@dataclass(frozen=True, slots=True)
class Part:
    """A locked package; `needed` without any extra, `licence` in SPDX's words."""

    name: str
    version: str
    digests: tuple[str, ...]
    licence: str
    needed: bool
    requires: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def locked(text: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """The SHA-256 of the files of each locked package, by name and version."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        if match := re.match(r"([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", entry):
            found[match[1], match[2]] = tuple(re.findall(r"sha256:([0-9a-f]{64})", entry))
    return found


def below(wanted: Iterable[str], known: set[str]) -> set[str]:
    """The packages that these requirements bring, by what the installed ones ask for."""
    found: set[tuple[str, str]] = set()
    open_ = [Requirement(each) for each in wanted]
    while open_:
        each = open_.pop()
        name = canonicalize_name(each.name)
        for extra in ("", *each.extras):
            if (name, extra) in found or (name not in known and name != OURS):
                continue
            found.add((name, extra))
            open_ += asked(name, extra)
    return {name for name, _ in found} - {OURS}


def asked(name: str, extra: str = "") -> list[Requirement]:
    """What an installed package asks for here, or with an extra of it."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    told = [Requirement(line) for line in lines]
    return [
        each
        for each in told
        if (each.marker is None and not extra)
        or (each.marker and each.marker.evaluate({"extra": extra}))
    ]


def parts(project: Mapping[str, Any], listed: Mapping[str, Any]) -> list[Part]:
    """All that is locked and not there for development alone."""
    lock = locked(LOCK.read_text())
    names = {name for name, _ in lock}
    extras = project["optional-dependencies"]
    base = below(project["dependencies"], names)
    runs = base | below((each for name in extras if name != TOOLS for each in extras[name]), names)
    tools = below(extras[TOOLS], names) - runs
    return [
        Part(
            name,
            version,
            digests,
            licence_of(name, listed),
            name in base,
            tuple(sorted({canonicalize_name(each.name) for each in asked(name)} & names)),
        )
        for (name, version), digests in sorted(lock.items())
        if name not in tools
    ]


def licence_of(name: str, listed: Mapping[str, Any]) -> str:
    """A package's licence in SPDX's words; what it says itself where that is in other words."""
    for pattern, (licence, _why) in listed["packages"].items():
        if fnmatch(name, pattern):
            return str(licence)
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    if expression := told.get("License-Expression"):
        return str(expression)
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in told.get_all("Classifier") or []
        if each.startswith("License ::") and not each.endswith("approved")
    ]
    words = classifiers or [(told.get("License") or "").strip().partition("\n")[0]]
    return " OR ".join(listed["words"].get(each, each) for each in words)


def is_allowed(expression: str, allowed: Iterable[str]) -> bool:
    """Whether an SPDX expression can be met with licences of these."""
    words = re.findall(r"\(|\)|[^\s()]+(?:\s+WITH\s+[^\s()]+)?", expression)
    known = set(allowed)

    def either() -> bool:
        met = both()
        while words and words[0] == "OR":
            words.pop(0)
            met |= both()
        return met

    def both() -> bool:
        met = one()
        while words and words[0] == "AND":
            words.pop(0)
            met &= one()
        return met

    def one() -> bool:
        if not words:
            return False
        word = words.pop(0)
        if word != "(":
            return " ".join(word.split()) in known
        met = either()
        return bool(words) and words.pop(0) == ")" and met

    return either() and not words


def bill(found: Iterable[Part], version: str) -> dict[str, Any]:
    """The CycloneDX 1.6 document; the same for the same lock."""
    components = [*found]
    own = f"pkg:pypi/{OURS}@{version}"
    by_name: dict[str, list[str]] = {}
    for each in components:
        by_name.setdefault(each.name, []).append(each.purl)
    digest = sha256(LOCK.read_bytes() + version.encode()).hexdigest()
    top = sorted(
        {purl for each in asked(OURS) for purl in by_name.get(canonicalize_name(each.name), ())}
    )
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": OURS,
                "version": version,
                "purl": own,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": [_component(each) for each in components],
        "dependencies": [
            {"ref": own, "dependsOn": top},
            *(
                {
                    "ref": each.purl,
                    "dependsOn": sorted(
                        {p for name in each.requires for p in by_name.get(name, ())}
                    ),
                }
                for each in components
            ),
        ],
    }


def _component(part: Part) -> dict[str, Any]:
    files = [{"alg": "SHA-256", "content": each} for each in part.digests]
    link = {"type": "distribution", "url": f"https://pypi.org/project/{part.name}/{part.version}/"}
    return {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        "scope": "required" if part.needed else "optional",
        "licenses": [{"expression": part.licence}],
        "externalReferences": [{**link, "hashes": files}],
    }


def struck(
    lock: Iterable[tuple[str, str]], advisories: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    """(advisory, package, version) of each locked version of which an advisory holds."""
    by_name: dict[str, list[str]] = {}
    for name, version in lock:
        by_name.setdefault(name, []).append(version)
    for advisory in advisories:
        for version in by_name.get(advisory["package"], ()):
            ranges = advisory["ranges"]
            if version in advisory["versions"] or any(_within(version, *each) for each in ranges):
                yield advisory["id"], advisory["package"], version


def _within(version: str, introduced: str, fixed: str | None) -> bool:
    at = Version(version)
    return at >= Version(introduced) and (fixed is None or at < Version(fixed))


def taken(checkout: Path, names: set[str]) -> dict[str, Any]:
    """What a checkout of pypa/advisory-database says of these packages."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", checkout, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout

    advisories = []
    for path in git("ls-tree", "-r", "--name-only", "HEAD", "vulns/").splitlines():
        if path.split("/")[1] in names and path.endswith(".yaml"):
            told = yaml.safe_load(git("show", f"HEAD:{path}"))
            if "withdrawn" not in told:
                advisories += [_advisory(told, each) for each in told["affected"]]
    return {
        "source": "https://github.com/pypa/advisory-database (CC-BY-4.0)",
        "commit": git("rev-parse", "HEAD").strip(),
        "as_of": git("log", "-1", "--format=%cs").strip(),
        "advisories": sorted(advisories, key=lambda each: (each["package"], each["id"])),
    }


def _advisory(told: Mapping[str, Any], affected: Mapping[str, Any]) -> dict[str, Any]:
    ranges: list[tuple[str, str | None]] = []
    for each in affected.get("ranges", ()):
        if each["type"] != "ECOSYSTEM":
            continue
        for event in each["events"]:
            if "introduced" in event:
                ranges.append((str(event["introduced"]), None))
            elif "fixed" in event:
                ranges[-1] = ranges[-1][0], str(event["fixed"])
    # Ranges say all that a list of versions does, and hold of versions that came later.
    versions = [] if ranges else [str(each) for each in affected.get("versions", ())]
    name = canonicalize_name(affected["package"]["name"])
    return {
        "id": told["id"],
        "aliases": told.get("aliases", []),
        "package": name,
        "ranges": ranges,
        "versions": versions,
    }


def faults(found: Iterable[Part], listed: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, a line each, with what to do."""
    licences, ignored = listed["licences"], listed["advisories"]
    for part in found:
        excused = any(fnmatch(part.name, pattern) for pattern in licences["packages"])
        if not excused and not is_allowed(part.licence, licences["allowed"]):
            told = part.licence or "no licence that is known"
            yield f"{part.name} {part.version}: {told}; name it in {LIST.name}, or do without it"
    snapshot = json.loads(ADVISORIES.read_text())
    for advisory, name, version in struck(locked(LOCK.read_text()), snapshot["advisories"]):
        if advisory not in ignored:
            yield f"{name} {version}: {advisory}; take a newer one (make lock UPGRADE=1)"


def check(folder: Path | None) -> int:
    """The checks; 1 where something is wrong."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = tomllib.loads(LIST.read_text())
    found = parts(project, listed["licences"])
    wrong = [*faults(found, listed)]
    for line in wrong:
        print(line, file=sys.stderr)
    if folder:
        path = folder / f"{OURS}-{project['version']}.cdx.json"
        path.write_text(json.dumps(bill(found, project["version"]), indent=1) + "\n")
        print(f"{path}: {len(found)} packages")
    as_of = json.loads(ADVISORIES.read_text())["as_of"]
    print(
        f"licences: {len(found)} looked at; advisories: as of {as_of}, what is newer is not known"
    )
    return 1 if wrong else 0


def main(arguments: list[str]) -> int:
    """The command; its exit code."""
    match arguments:
        case ["check", *folder] if len(folder) < 2:
            return check(Path(folder[0]) if folder else None)
        case ["advisories", checkout]:
            names = {name for name, _ in locked(LOCK.read_text())}
            made = taken(Path(checkout), names)
            ADVISORIES.write_text(json.dumps(made, indent=1) + "\n")
            print(f"{len(made['advisories'])} advisories as of {made['as_of']}")
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
