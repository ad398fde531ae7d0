"""`modelmora jobs`: requests that nobody waits for, through the gateway."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from modelmora.cli.ask.infer import GRACE_S, limit, parameters_of, read_inputs, show
from modelmora.cli.shared.options import (
    JsonOption,
    ParametersOption,
    PatienceOption,
    PriorityOption,
    finds_instance,
)
from modelmora.cli.shared.output import clock, print_json, say, tell
from modelmora.host.instance import Instance
from modelmora.text import counted, duration

app = typer.Typer(
    help="Requests that nobody waits for: submitted, looked at, taken back; each caller's own.",
    no_args_is_help=True,
)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id that `submit` printed.")]


@app.command("submit")
@finds_instance
def submit(
    where: Instance,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or name@version.")],
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT|-", help="One input each; - reads one per line."),
    ] = None,
    param: ParametersOption = None,
    priority: PriorityOption = "normal",
    timeout: PatienceOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a model and print the job's id, without waiting for the answer."""
    body: dict[str, Any] = {"parameters": parameters_of(param), "priority": priority}
    body |= limit(timeout) | {"inputs": read_inputs(text or [])}
    job = where.ask_gateway("POST", f"/infer/{quote(model, safe='@')}/async", json=body)
    if json:
        print_json(job)
    else:
        tell(job["request_id"])


@app.command("show")
@finds_instance
def show_job(
    where: Instance,
    job_id: IdArgument,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, max=3600, help="Until it ends.")
    ] = 0.0,
    json: JsonOption = False,
) -> None:
    """Tell how a job stands."""
    path, asked = _path(job_id), {"wait_s": f"{wait:g}"}
    job = where.ask_gateway("GET", path, params=asked, timeout_s=wait + 2 * GRACE_S)
    if json:
        print_json(job)
        return
    for line in _lines(job):
        tell(line)


@app.command("result")
@finds_instance
def result(where: Instance, job_id: IdArgument, json: JsonOption = False) -> None:
    """Print the answer of a job that has completed."""
    answer = where.ask_gateway("GET", f"{_path(job_id)}/result")
    if json:
        print_json(answer)
    else:
        show(answer, job_id, 1)


@app.command("cancel")
@finds_instance
def cancel(where: Instance, job_id: IdArgument, json: JsonOption = False) -> None:
    """Take a job back; what a model computes already is ended."""
    job = where.ask_gateway("DELETE", _path(job_id))
    if json:
        print_json(job)
    else:
        say(f"{job['request_id']}  {job['state']}")


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _lines(job: dict[str, Any]) -> list[str]:
    """A job for people; what nobody knows is left out."""
    model = f"{job['model']}@{job['version']}" if job.get("version") else job["model"]
    lines = [f"{job['request_id']}  {job['state']}  {model}"]
    if job.get("position") is not None:
        lines.append(f"{job['position']} ahead of it")
    if job.get("estimate_ms") is not None:
        lines.append(f"starts in about {duration(job['estimate_ms'])}")
    if job.get("steps"):
        lines.append(f"step {job.get('step') or 0} of {job['steps']}")
    elif job.get("step"):
        lines.append(f"{counted(job['step'], 'token')} so far")
    lines += [
        f"{words} {clock(job[name])}"
        for name, words in (
            ("submitted_at", "submitted"),
            ("ended_at", "ended"),
            ("held_until", "its result is kept until"),
        )
        if job.get(name) is not None
    ]
    if error := job.get("error"):
        lines.append(f"{error['code']}: {error['message']}")
    return [lines[0], *(f"  {line}" for line in lines[1:])]
