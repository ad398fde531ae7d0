"""`modelmora lock`: write down exactly what is served, or see whether it still is."""

from __future__ import annotations

from typing import Annotated

import typer

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, say, tell
from modelmora.errors import LockMismatch
from modelmora.host.instance import Instance
from modelmora.registry.lock import differences, write_lock
from modelmora.text import counted


@finds_instance
def lock(
    where: Instance,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 5 where something differs.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Write the lock file: of each model its source, revision, and files with their sums."""
    settings = where.settings
    if check:
        found = differences(settings)
        if json:
            print_json({"differences": found})
        for line in () if json else found:
            tell(line)
        say(f"{counted(len(found), 'difference')} to {settings.lock_file}")
        return LockMismatch.exit_code if found else 0
    written = write_lock(settings)
    if json:
        print_json([each.as_dict() for each in written.models.values()])
    else:
        tell(str(settings.lock_file))
    say(f"{counted(len(written.models), 'model')} locked")
    return 0
