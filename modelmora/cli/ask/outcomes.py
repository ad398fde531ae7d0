"""An outcome for people and for programs."""

from __future__ import annotations

from typing import Any

from modelmora.cli.ask.infer import lines_of
from modelmora.cli.shared.output import print_json, tell
from modelmora.messages import InferenceResult
from modelmora.text import duration
from modelmora.wire.forms import content_form
from modelmora.wire.plainjson import outcome_form
from modelmora.wire.tensors import BadTensor


def show(outcome: InferenceResult, *, json: bool) -> None:
    """Print it: as `results.json` has it, or a line of its own and its outputs behind that."""
    if json:
        print_json(_form(outcome), line=True)
        return
    model = f"{outcome.model}@{outcome.version}" if outcome.version else outcome.model
    run = f"  run {outcome.run}" if outcome.run > 1 else ""
    spent = duration(outcome.timings.total_ms)
    tell(f"{outcome.request_id}  {outcome.status}  {model}  {spent}{run}".rstrip())
    if error := outcome.error:
        tell(f"  {error.code}: {error.message}")
    for output in outcome.outputs:
        try:
            lines = lines_of(content_form(output))
        except BadTensor as fault:
            lines = [f"an output that cannot be shown: {fault}"]
        for line in lines:
            tell(f"  {line}")


def _form(outcome: InferenceResult) -> dict[str, Any]:
    try:
        return outcome_form(outcome)
    except BadTensor as fault:
        from dataclasses import replace

        whole = outcome_form(replace(outcome, outputs=()))
        return whole | {"outputs": None, "note": f"its outputs have no form as JSON: {fault}"}
