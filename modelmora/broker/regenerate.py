"""Prints `jars.sha256` anew for a Kafka version: `python -m modelmora.broker.regenerate 4.1.1`.

The jars and everything they need are resolved and downloaded into an empty folder, so what is
printed is what Maven Central serves now. Commit it as `modelmora/broker/jars.sha256`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from modelmora.broker.jars import SECTIONS

SLF4J = "org.slf4j:slf4j-simple:2.0.17"
SCALA = "2.13"


def closure(coordinates: str, repository: Path) -> dict[str, str]:
    """Resolve `group:artifact:version+…` and all it needs at run time; {Maven path: sha256}."""
    from jgo.maven import MavenContext, PythonResolver
    from jgo.parse import Coordinate

    context = MavenContext(resolver=PythonResolver(), repo_cache=repository)
    wanted = [
        context.create_dependency(Coordinate(*part.split(":"), scope="compile"))
        for part in coordinates.split("+")
    ]
    inputs, needed = context.resolver.resolve(wanted)
    found = {}
    for dependency in (*inputs, *needed):
        if dependency.scope not in ("compile", "runtime"):
            continue
        path: Path = dependency.artifact.resolve()
        found[path.relative_to(repository).as_posix()] = hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
    return found


def render(version: str, repository: Path) -> str:
    """The text of `jars.sha256` for this version of Kafka."""
    kafka = f"org.apache.kafka:kafka_{SCALA}:{version}+{SLF4J}"
    broker = closure(kafka, repository)
    tools = closure(f"{kafka}+org.apache.kafka:kafka-tools:{version}", repository)
    extra = {path: digest for path, digest in tools.items() if path not in broker}
    lines = [f"# Apache Kafka {version}: made by `python -m modelmora.broker.regenerate {version}`"]
    for section, jars in zip(SECTIONS, (broker, extra), strict=True):
        lines.append(f"# {section}")
        lines += [f"{digest}  {path}" for path, digest in sorted(jars.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the sums of the version named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m modelmora.broker.regenerate KAFKA_VERSION")
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(render(sys.argv[1], Path(folder)))


if __name__ == "__main__":
    main()
