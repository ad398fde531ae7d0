"""`modelmora export`: another form of a model that is known already."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from modelmora.cli.models import NamedModel, looked_up
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, say, tell
from modelmora.host.instance import Instance
from modelmora.registry.exporting import export


class Form(StrEnum):
    """The forms that there are to be made."""

    ONNX = "onnx"


@finds_instance
def export_model(
    where: Instance,
    model: NamedModel,
    form: Annotated[Form, typer.Option(help="Which form.")] = Form.ONNX,
    int8: Annotated[
        bool, typer.Option("--int8", help="Smaller and less exact, so a version of its own.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a text model as an ONNX graph, which answers single texts faster on a CPU."""
    source = looked_up(where.settings, model)
    say(f"{model} as {form}: torch exports it and both are measured, which takes about a minute")
    definition, record = export(where.settings, source, int8=int8)
    key = "@".join(definition.key)
    if json:
        print_json(definition.as_dict() | {"record": dict(record)})
    else:
        tell(key)
    say(
        f"cosine to torch at least {record['cosine_min']:.6f}, {record['cosine_mean']:.6f} in the "
        f"mean; a single text {record['single_vs_torch']:.2f} times as fast, 32 at once "
        f"{record['batch_vs_torch']:.2f} times"
    )
