"""`modelmora doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict

from modelmora.cli.options import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    ServersOption,
    settings_of,
)
from modelmora.cli.output import print_json, print_table, say
from modelmora.diagnostics import State, examine


def doctor(
    bootstrap_servers: ServersOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Check packages, disk, ports, broker, topics, models, nodes; exit 1 if one is wrong."""
    settings = settings_of(config, data_dir, bootstrap_servers)
    findings = [*examine(settings)]
    wrong = sum(finding.state is State.WRONG for finding in findings)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(
            ("", "CHECK", "FOUND"),
            [
                (f.state.value, f.check, f.found if not f.fix else f"{f.found}; {f.fix}")
                for f in findings
            ],
        )
        are = "is" if wrong == 1 else "are"
        say(f"{wrong} of {len(findings)} checks {are} wrong" if wrong else "nothing is wrong")
    return 1 if wrong else 0
