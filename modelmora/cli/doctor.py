"""`modelmora doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say, waiting
from modelmora.diagnostics.checks import examine
from modelmora.diagnostics.finding import State
from modelmora.host.instance import Instance


@finds_instance
def doctor(where: Instance, json: JsonOption = False) -> int:
    """Check packages, disk, ports, broker, topics, models, nodes; exit 1 if one is wrong."""
    with waiting("looking at packages, folder, models, broker, topics and the group"):
        findings = [*examine(where.settings, where.run)]
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
            prose=True,
        )
        are = "is" if wrong == 1 else "are"
        say(f"{wrong} of {len(findings)} checks {are} wrong" if wrong else "nothing is wrong")
    return 1 if wrong else 0
